package coherence

import "time"

const maxKeys = 6

// options is what one schedule is like. Each schedule leaves out some of what can happen, and has more of the
// rest, so that rare things also meet each other.
type options struct {
	size    int  // number of places
	hosts   int  // at most so many; on one host it can be proved that a process has ended
	clients int  // per thousand places
	refused bool // the others do not admit the process at the last place

	known int // rows that the cluster's row counts at first: 1, or 0 if the database is new

	keys, buckets, databases int
	apart                    bool // the second database is on a server of its own

	length    time.Duration // with faults
	loadAfter time.Duration // readers and writers go on for so long without faults
	tail      time.Duration // the longest delay of a message
	copies    time.Duration // by how much longer a copy, which is large, may take to arrive
	codec     bool          // messages are encoded and decoded

	acks    time.Duration // until a member that does not acknowledge is marked out
	orphans time.Duration // until the database is asked about an event
	naps    int           // per thousand slow reads: the process is stopped during the read

	partial      int           // per thousand processes: it serves the second database later, or never
	outsideEvery time.Duration // the longest pause between two writes from outside; 0: there are none
	mostNotes    int           // per database, until old ones are replaced

	writes int // per thousand turns of a process
	every  int // per thousand events: it is over all buckets
	waits  int // per thousand transactions: it waits long before COMMIT, or in it
	fails  int // per thousand transactions: it is given up, fails, or loses the answer

	faultEvery time.Duration    // the longest pause between two faults
	lasting    time.Duration    // the longest fault; 0: any
	weights    [faultKinds]int  // how often each occurs
	deletes    int              // per thousand starts: somebody deletes rows of the members table meanwhile
	outs       int              // per thousand views of two servers: the process is put out in between
	eager      bool             // and the others see that at once; a process that has sent a copy reaches the second server at once
	tidies     int              // per thousand ends: somebody deletes the row at once
	strike     int              // mean number of points of a process between two strikes; 0: there are none
	restart    [2]time.Duration // of a process that has died
}

func (s *sim) draw() options {
	ms := time.Millisecond
	o := options{
		size:       []int{2, 3, 3, 4, 4, 5, 6, 7}[s.below(8)],
		hosts:      []int{1, 1, 2, 7}[s.below(4)],
		clients:    []int{0, 250}[s.below(2)],
		refused:    s.below(16) == 0,
		known:      []int{0, 0, 0, 1}[s.below(4)],
		keys:       []int{1, 3, 6}[s.below(3)],
		buckets:    []int{1, 2, 6}[s.below(3)],
		databases:  1 + s.below(2),
		length:     s.between(3*time.Second, 12*time.Second),
		tail:       []time.Duration{50 * ms, 200 * ms, 600 * ms}[s.below(3)],
		codec:      s.below(16) == 0,
		acks:       []time.Duration{100 * ms, 150 * ms, 150 * ms, 600 * ms}[s.below(4)],
		orphans:    []time.Duration{100 * ms, 330 * ms, 800 * ms}[s.below(3)],
		naps:       []int{0, 0, 20}[s.below(3)],
		writes:     []int{10, 30, 100}[s.below(3)],
		every:      []int{0, 30, 200}[s.below(3)],
		waits:      []int{0, 70, 200}[s.below(3)],
		fails:      []int{0, 30, 100}[s.below(3)],
		faultEvery: []time.Duration{500 * ms, 1500 * ms, 4000 * ms}[s.below(3)],
		strike:     []int{0, 2000, 6000}[s.below(3)],
		restart:    [2]time.Duration{50 * ms, []time.Duration{100 * ms, 3000 * ms}[s.below(2)]},
	}
	o.outsideEvery = []time.Duration{0, 100 * ms, 700 * ms, 3000 * ms}[s.below(4)]
	o.partial = []int{0, 0, 300}[s.below(3)]
	o.copies = []time.Duration{0, 0, 800 * ms}[s.below(3)]
	o.outs = []int{0, 0, 30}[s.below(3)]
	o.mostNotes = []int{3, 1000}[s.below(2)]
	o.deletes, o.tidies = []int{0, 0, 100}[s.below(3)], []int{0, 0, 300}[s.below(3)]
	if s.below(4) == 0 {
		o.loadAfter = s.between(0, 3*time.Second)
	}
	o.apart = o.databases == 2 && s.below(2) == 0
	for kind := range o.weights {
		o.weights[kind] = []int{0, 0, 1, 1, 4}[s.below(5)] * usual[kind]
	}
	return o
}
