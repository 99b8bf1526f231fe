package transport

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestSecretNeverShows(t *testing.T) {
	secret := Secret("hush-hush-hush-hush")
	identity := newIdentity(t)
	o := Options{Secret: secret, Identity: identity, Handler: newRecorder()}
	transport, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close()
	_, short := New(Options{Secret: secret[:15], Identity: newIdentity(t), Handler: newRecorder()})
	if short == nil || !strings.Contains(short.Error(), "15 bytes") {
		t.Fatalf("a short secret: %v", short)
	}
	asJSON, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(asJSON), secret.String(), secret.GoString(), short.Error()}
	for _, value := range []any{secret, o, &o, transport, *transport.security} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			texts = append(texts, fmt.Sprintf(verb, value))
		}
	}
	shown := []string{"hush", "68757368", "104 117 115 104", "104, 117, 115, 104", "0x68, 0x75", "aHVza"}
	for _, text := range texts {
		for _, part := range shown {
			if strings.Contains(strings.ToLower(text), part) {
				t.Errorf("the secret shows in %q", text)
			}
		}
	}
}
