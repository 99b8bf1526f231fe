package node

import (
	"encoding/json"

	"guillotina_groupcache/internal/bridge"
	"guillotina_groupcache/internal/cache"
	"guillotina_groupcache/internal/coherence"
	"guillotina_groupcache/internal/transport"
)

// Constants returns, in JSON, the numbers that Python has too. A test of Python's compares them, so a
// number that only one side has is found: enums are listed as a whole, by their sentinels.
func Constants() ([]byte, error) {
	sources, kinds, missed := map[string]int{}, map[string]int{}, map[string]int{}
	for s := range cache.Sources {
		sources[s.String()] = int(s)
	}
	for k := bridge.Values; k < bridge.CompletionKinds; k++ {
		kinds[k.String()] = int(k)
	}
	for i, name := range [noValues]string{"miss", "bypass"} {
		missed[name] = Miss - i
	}
	return json.Marshal(map[string]any{
		"sources":          sources,
		"completion_kinds": kinds,
		"missed":           missed,
		"header_words":     coherence.TableHeader,
		"near_words": map[string]int{"hits": wordNearHits - nearWords, "items": wordNearEntries - nearWords,
			"bytes": wordNearBytes - nearWords},
		"max_databases":   coherence.MaxDatabases,
		"max_database_id": coherence.MaxDatabaseID,
		"max_ttl":         longestLife.Seconds(),
		"load_timeout":    loadTimeout.Seconds(),
		"log_every":       transport.LogEvery.Seconds(),
	})
}
