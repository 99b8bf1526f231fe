module guillotina_groupcache

go 1.26.0

require (
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/groupcache/groupcache-go/v3 v3.2.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/segmentio/fasthash v1.0.3 // indirect
	golang.org/x/net v0.62.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
