package cache

import (
	"context"
	"errors"

	"github.com/groupcache/groupcache-go/v3/transport"
	"github.com/groupcache/groupcache-go/v3/transport/pb"
	"github.com/groupcache/groupcache-go/v3/transport/peer"
)

// errNoKey is the answer to a string from groupcache that is no ring key. Nothing sends one.
var errNoKey = errors.New("cache: not a versioned key")

// ringTransport is groupcache's network; the connections are those of [Peers].
type ringTransport struct{ group *Group }

func (t *ringTransport) New() transport.Transport                     { return t }
func (t *ringTransport) Register(transport.GroupCacheInstance)        {}
func (t *ringTransport) ListenAddress() string                        { return t.group.address }
func (t *ringTransport) ListenAndServe(context.Context, string) error { return nil }
func (t *ringTransport) Shutdown(context.Context) error               { return nil }
func (t *ringTransport) NewClient(_ context.Context, info peer.Info) (peer.Client, error) {
	return &ringClient{t.group, info}, nil
}

// ringClient sends groupcache's requests to one peer.
type ringClient struct {
	group *Group
	info  peer.Info
}

func (c *ringClient) Get(ctx context.Context, in *pb.GetRequest, out *pb.GetResponse) error {
	key, ok := parseRingKey(in.GetKey())
	if !ok {
		return errNoKey
	}
	r := c.group.fromPeer(ctx, c.info.Address, []VersionedKey{key})[0]
	if r.Err != nil {
		return r.Err
	}
	reportSource(ctx, r.Source)
	if out.Value = r.Value; out.Value == nil {
		out.Value = []byte{}
	}
	if r.Expires != Never {
		expires := max(r.Expires, 1) // groupcache takes 0 for "never"
		out.Expire = &expires
	}
	return nil
}

// Remove and Set are groupcache's ways to change a value, and a versioned key's value never changes.

func (c *ringClient) Remove(context.Context, *pb.GetRequest) error { return errors.ErrUnsupported }
func (c *ringClient) Set(context.Context, *pb.SetRequest) error    { return errors.ErrUnsupported }

func (c *ringClient) PeerInfo() peer.Info { return c.info }
func (c *ringClient) HashKey() string     { return c.info.Address }
