package node

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"guillotina_groupcache/internal/transport"
)

// Config is this process's configuration, as Python gives it; times in seconds, sizes in bytes.
type Config struct {
	// Listen are addresses, of which the first free one is taken; none: a client, or alone.
	Listen []string `json:"listen"`
	// Advertise is the "host" or "host:port" that others dial; "": where this process listens.
	Advertise string `json:"advertise"`
	// Admit are the addresses and "dns:host:port" of the peers that are admitted; none: all in the
	// members table.
	Admit   []string         `json:"admit"`
	Alone   bool             `json:"alone"`  // no peers: no connections, no members table
	Secret  transport.Secret `json:"secret"` // its UTF-8 bytes are the transport's secret
	TLS     *transport.Files `json:"tls"`
	Size    int64            `json:"size"`
	TTL     float64          `json:"ttl"` // 0: none
	Lease   float64          `json:"lease"`
	Buckets uint32           `json:"buckets"` // a power of two, the same in the whole cluster
}

// Times and bounds that are not for the user to choose.
const (
	// ackTimeout is how long a member may take to acknowledge an event (R3).
	ackTimeout = 100 * time.Millisecond
	// orphanAfter is how long an event may be open before the database is asked about it (R6).
	orphanAfter = time.Second
	// loadTimeout bounds a load, so that a Python that stands still does not hold reads for ever.
	loadTimeout = 30 * time.Second
	// peerTimeout bounds the wait for each answer of a peer; then the key is loaded here.
	peerTimeout = 2 * time.Second
	// maxFlights and maxReads bound the loads and reads under way; beyond them the database is read.
	maxFlights = 1 << 14
	maxReads   = 1 << 13
	// maxKeys, maxKey and maxRequest bound one request to a peer: its keys, the bytes of one key, and
	// the bytes of all. No peer is asked for a longer key.
	maxKeys    = 1 << 10
	maxKey     = 4 << 10
	maxRequest = 128 << 10
	// maxWaiting bounds the bytes of all requests of peers that wait for loads.
	maxWaiting = 64 << 20
	// maxStats bounds a peer's statistics, in bytes.
	maxStats = 1 << 20
	// answerBudget bounds the values in one answer to a peer, well within a frame: the largest value
	// has some 5 MB.
	answerBudget = 8 << 20
	// tickEvery is how often the state machine is told the time.
	tickEvery = 20 * time.Millisecond
)

func parseConfig(text []byte) (Config, error) {
	var cfg Config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return cfg, fmt.Errorf("configuration: %w", err)
	}
	if cfg.Buckets == 0 || cfg.Buckets&(cfg.Buckets-1) != 0 {
		return cfg, fmt.Errorf("configuration: buckets is %d, allowed is a power of two", cfg.Buckets)
	}
	if cfg.Lease <= 0 {
		return cfg, fmt.Errorf("configuration: lease is %v, allowed is a positive number of seconds", cfg.Lease)
	}
	if cfg.TTL < 0 || cfg.TTL > longestLife.Seconds() {
		return cfg, fmt.Errorf("configuration: ttl is %v, allowed are 0 to %v seconds", cfg.TTL, longestLife.Seconds())
	}
	return cfg, nil
}

// ttl is how long a value may live; 0: for ever. A ttl below a nanosecond counts as one.
func (c *Config) ttl() time.Duration {
	if c.TTL == 0 {
		return 0
	}
	return max(seconds(c.TTL), 1)
}

// storeSize is what the stores may take: the size without the version table, of which every page is
// used sooner or later. The stores keep at least three quarters of a small size.
func (c *Config) storeSize() int64 {
	return c.Size - min(int64(c.Buckets)*8, c.Size/4)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// random returns 64 random bits. Versioned keys are unique only if these are good; crypto/rand ends
// the process if it has none.
func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
