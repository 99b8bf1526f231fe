package transport

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// minSecret is the shortest allowed secret, in bytes. A server shows its public key to any
// process that connects, and a short secret could be guessed from it offline.
const minSecret = 16

// Salt and info of the derivation. A change of the derivation needs a new version here, so that two
// uses of one secret never share a key.
const (
	keySalt = "guillotina_groupcache transport"
	keyInfo = "ed25519 seed v1"
)

// Secret is a secret that all processes of a cluster share, at least 16 random bytes. It
// authenticates them to each other without certificates to manage. Printing it prints a placeholder.
type Secret []byte

const hidden = "(secret)"

// Format prints a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// String returns a placeholder.
func (Secret) String() string { return hidden }

// GoString returns a placeholder.
func (Secret) GoString() string { return hidden }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// UnmarshalText takes the text as it is; JSON's rule for bytes would read it as base64.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = append(Secret(nil), text...)
	return nil
}

// key derives the key pair that all processes with this secret share.
func (s Secret) key() (ed25519.PrivateKey, error) {
	if len(s) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, at least %d random ones are needed", len(s), minSecret)
	}
	seed, err := hkdf.Key(sha256.New, s, []byte(keySalt), keyInfo, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key from the secret: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
