package cache

import (
	"context"
	"errors"

	"github.com/groupcache/groupcache-go/v3/transport"
	"github.com/groupcache/groupcache-go/v3/transport/pb"
	"github.com/groupcache/groupcache-go/v3/transport/peer"
)

// ringTransport gives groupcache its clients; the connections are those of [Peers].
type ringTransport struct{ group *Group }

func (t *ringTransport) New() transport.Transport                     { return t }
func (t *ringTransport) Register(transport.GroupCacheInstance)        {}
func (t *ringTransport) ListenAddress() string                        { return t.group.address }
func (t *ringTransport) ListenAndServe(context.Context, string) error { return nil }
func (t *ringTransport) Shutdown(context.Context) error               { return nil }
func (t *ringTransport) NewClient(_ context.Context, info peer.Info) (peer.Client, error) {
	return &ringClient{t.group, info}, nil
}

// ringClient asks one peer on groupcache's behalf.
type ringClient struct {
	group *Group
	info  peer.Info
}

func (c *ringClient) Get(ctx context.Context, in *pb.GetRequest, out *pb.GetResponse) error {
	name, ok := parseRingKey(in.GetKey())
	if !ok {
		return errors.New("cache: not a name")
	}
	r := c.group.fromPeer(ctx, c.info.Address, []VersionedKey{name})[0]
	if r.Err != nil {
		return r.Err
	}
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.source = r.Source
	}
	if out.Value = r.Value; out.Value == nil {
		out.Value = []byte{}
	}
	if r.Expires != Never {
		expires := max(r.Expires, 1) // groupcache takes 0 for "never"
		out.Expire = &expires
	}
	return nil
}

// Remove and Set are groupcache's way to change a value, which names never do.

func (c *ringClient) Remove(context.Context, *pb.GetRequest) error { return errors.ErrUnsupported }
func (c *ringClient) Set(context.Context, *pb.SetRequest) error    { return errors.ErrUnsupported }

func (c *ringClient) PeerInfo() peer.Info { return c.info }
func (c *ringClient) HashKey() string     { return c.info.Address }
