package coherence

import "slices"

// outbox holds what the caller is to do next.
type outbox struct {
	actions   []Action
	connected map[Incarnation]struct{} // processes that can be reached now
}

func (o *outbox) act(a Action) { o.actions = append(o.actions, a) }

// log writes a line to the operator's log.
func (o *outbox) log(text string) { o.act(Action{Kind: Log, Text: text}) }

// send is for messages that may be lost: a process that needs the answer asks again.
func (o *outbox) send(to Incarnation, message *Message) {
	if _, connected := o.connected[to]; connected {
		o.act(Action{Kind: Send, To: to, Message: message})
	}
}

// sendInParts sends entries that belong to no log, in parts that fit a frame.
func (o *outbox) sendInParts(to Incarnation, kind MessageKind, entries []Entry) {
	for part := range slices.Chunk(entries, entriesInMessage) {
		o.send(to, &Message{Kind: kind, Entries: part})
	}
}
