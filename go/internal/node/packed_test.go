package node

import (
	"bytes"
	"testing"

	"guillotina_groupcache/internal/cache"
)

func TestListsThatAreCutAreRefused(t *testing.T) {
	names := packNames([]cache.VersionedKey{{Key: []byte("a\x00"), Version: 2}, {Key: nil, Version: 1<<64 - 2}})
	results := packResults([]cache.Result{{Value: []byte("v"), Source: cache.Peer}, {Source: cache.Own}}, 1000)
	for n := range names {
		if _, err := unpackNames(names[:n]); (err == nil) != (n == 0 || n == 8+4+2) {
			t.Errorf("names cut to %d bytes: %v", n, err)
		}
	}
	for n := range results {
		if _, err := unpackResults(results[:n]); (err == nil) != (n == 0 || n == 1+4+1) {
			t.Errorf("results cut to %d bytes: %v", n, err)
		}
	}
	huge := []byte{255, 255, 255, 255}
	if _, err := unpackKeys(huge); err == nil {
		t.Error("a key of 4 GiB was taken")
	}
	if _, err := unpackResults([]byte{byte(cache.Deduplicated) + 1, 0, 0, 0, 0}); err == nil {
		t.Error("a source that there is not was taken")
	}
}

func TestPackResultsKeepsToItsBudget(t *testing.T) {
	value := cache.Result{Value: make([]byte, 95), Source: cache.Own} // 100 bytes with its header
	for budget, want := range map[int]int{0: 1, 99: 1, 100: 1, 199: 1, 200: 2, 1000: 3} {
		got, err := unpackResults(packResults([]cache.Result{value, value, value}, budget))
		if err != nil || len(got) != want {
			t.Errorf("%d results in %d bytes, want %d; %v", len(got), budget, want, err)
		}
	}
	if b := packResults(nil, 10); len(b) != 0 {
		t.Errorf("nothing is %v", b)
	}
}

func TestAFailedResultHasNoValue(t *testing.T) {
	got, err := unpackResults(packResults([]cache.Result{{Err: errNotThere}}, 10))
	if err != nil || len(got) != 1 || got[0].Err == nil || got[0].Source != cache.Nowhere {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzUnpackKeys(f *testing.F) {
	f.Add(packed("a", "", "b\x00c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := unpackKeys(b)
		var again []byte
		for _, key := range keys {
			again = appendBytes(again, key)
		}
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("%v was read as %q", b, keys)
		}
	})
}

func FuzzUnpackNames(f *testing.F) {
	f.Add(packNames([]cache.VersionedKey{{Key: []byte("a"), Version: 2}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if names, err := unpackNames(b); err == nil && !bytes.Equal(packNames(names), b) {
			t.Errorf("%v was read as %v", b, names)
		}
	})
}

func FuzzUnpackResults(f *testing.F) {
	f.Add(packResults([]cache.Result{{Value: []byte("v"), Source: cache.Peer}, {}}, 1000))
	f.Fuzz(func(t *testing.T, b []byte) {
		results, err := unpackResults(b)
		if err == nil && !bytes.Equal(packResults(results, len(b)), b) {
			t.Errorf("%v was read as %v", b, results)
		}
		for _, r := range results {
			if r.Source > cache.Deduplicated || (r.Err != nil) != (r.Source == cache.Nowhere) {
				t.Errorf("%v has the result %v", b, r)
			}
		}
	})
}

func FuzzUnpackPut(f *testing.F) {
	for _, life := range []uint64{1, forever, 0, 1 << 63} {
		p := put{event: 7, life: life, name: cache.VersionedKey{Key: []byte("a"), Version: 2}}
		f.Add(append(packPut(p), "value"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := unpackPut(b)
		if err == nil && !bytes.Equal(append(packPut(p), p.value...), b) {
			t.Errorf("%v was read as %v", b, p)
		}
		if _, ok := expiryOf(p.life, 0); err == nil && !ok {
			t.Errorf("%v has the life %d", b, p.life)
		}
	})
}
