package transport

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// minSecret is the least length of a secret, in bytes. A server shows its public key to
// whoever connects, and with it a short secret could be guessed offline.
const minSecret = 16

// Salt and info of the derivation. A change of it gets a new version here, so that no two
// uses of one secret ever share a key.
const (
	keySalt = "guillotina_groupcache transport"
	keyInfo = "ed25519 seed v1"
)

// Secret is a secret that all processes of a cluster share, at least 16 random bytes. It
// authenticates them to each other, with no certificates to manage. It never prints.
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

// key derives the key pair that every process with this secret has.
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
