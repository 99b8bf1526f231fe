package cache

// Source says where a value came from.
type Source uint8

const (
	// Nowhere is the source of a value that was not found or could not be read.
	Nowhere Source = iota
	// Own is the main store of this process, which owns the key.
	Own
	// Hot is the hot store: this process's copy of a value that another process owns.
	Hot
	// Peer is the memory of the owner, read over the network.
	Peer
	// Database is a load that this request caused, here or at the owner.
	Database
	// Deduplicated is a load or a request to the owner that was under way already, for another request.
	Deduplicated
	// Sources is how many there are.
	Sources
)

// String returns the source as statistics and Python spell it.
func (s Source) String() string {
	return [Sources]string{"nowhere", "own", "hot", "peer", "database", "deduplicated"}[s]
}

// Result is a value, or the reason why there is none.
type Result struct {
	Value   []byte
	Source  Source
	Expires int64 // of a value: an instant of [Config.Now], or [Never]
	Err     error
}
