package bridge

import (
	"bytes"
	"testing"

	"guillotina_groupcache/internal/cache"
)

func TestListsThatAreCutAreRefused(t *testing.T) {
	results := PackResults([]cache.Result{{Value: []byte("v"), Source: cache.Peer}, {Source: cache.Own}})
	for n := range results {
		if _, err := UnpackResults(results[:n]); (err == nil) != (n == 0 || n == 1+4+1) {
			t.Errorf("results cut to %d bytes: %v", n, err)
		}
	}
	huge := []byte{255, 255, 255, 255}
	if _, err := UnpackList(huge); err == nil {
		t.Error("an element of 4 GiB was accepted")
	}
	if _, err := UnpackResults([]byte{byte(cache.Deduplicated) + 1, 0, 0, 0, 0}); err == nil {
		t.Error("an unknown source was accepted")
	}
	if b := PackResults(nil); len(b) != 0 {
		t.Errorf("no results are %v", b)
	}
}

func TestAFailedResultHasNoValue(t *testing.T) {
	got, err := UnpackResults(PackResults([]cache.Result{{Err: ErrNoValue}}))
	if err != nil || len(got) != 1 || got[0].Err == nil || got[0].Source != cache.Nowhere {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzUnpackList(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00a\x00\x00\x00\x00\x03\x00\x00\x00b\x00c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		elements, err := UnpackList(b)
		var again []byte
		for _, element := range elements {
			again = AppendElement(again, element)
		}
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("%v was read as %q", b, elements)
		}
	})
}

func FuzzUnpackResults(f *testing.F) {
	f.Add(PackResults([]cache.Result{{Value: []byte("v"), Source: cache.Peer}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		results, err := UnpackResults(b)
		if err == nil && !bytes.Equal(PackResults(results), b) {
			t.Errorf("%v was read as %v", b, results)
		}
		for _, r := range results {
			if r.Source > cache.Deduplicated || (r.Err != nil) != (r.Source == cache.Nowhere) {
				t.Errorf("%v has the result %v", b, r)
			}
		}
	})
}
