package cache

import (
	"fmt"
	"slices"
	"testing"
)

const ringKeys = 20000

// ringOf returns, for each key, the address of the owner that the process at self sees among itself and others.
func ringOf(t *testing.T, self string, others []string) []string {
	t.Helper()
	g, _ := newGroup(t, Config{Address: self}, nil)
	if err := g.SetPeers(others); err != nil {
		t.Fatal(err)
	}
	owners := make([]string, ringKeys)
	for i := range owners {
		if owners[i] = g.Owner(fmt.Appendf(nil, "key %d", i)); owners[i] == "" {
			owners[i] = self
		}
	}
	return owners
}

func addresses(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("10.0.0.%d:7000", i+1)
	}
	return list
}

func without(list []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == one })
}

func TestRingIsTheSameInEveryProcess(t *testing.T) {
	all := addresses(5)
	want := ringOf(t, all[0], without(all, all[0]))
	for i, self := range all {
		others := without(all, self)
		if i%2 == 1 {
			slices.Reverse(others)
		}
		if !slices.Equal(ringOf(t, self, others), want) {
			t.Errorf("%s sees different owners", self)
		}
	}
	client := ringOf(t, "", all)
	if !slices.Equal(client, want) {
		t.Error("a client sees different owners")
	}
}

func TestRingSharesAreAlmostEqual(t *testing.T) {
	const n = 8
	all := addresses(n)
	count := make(map[string]int)
	for _, owner := range ringOf(t, all[0], all[1:]) {
		count[owner]++
	}
	for _, address := range all {
		if share := float64(count[address]) * n / ringKeys; share < 0.7 || share > 1.3 {
			t.Errorf("the share of %s is %.2f of the mean", address, share)
		}
	}
}

func TestRingAJoinOrLeaveMovesOneShare(t *testing.T) {
	const n = 8
	all := addresses(n)
	with, one := ringOf(t, all[0], all[1:]), all[n-1]
	less := ringOf(t, all[0], all[1:n-1])
	moved := 0
	for i := range with {
		if with[i] != less[i] {
			moved++
			if with[i] != one {
				t.Fatalf("key %d moved from %s to %s when %s joined", i, less[i], with[i], one)
			}
		}
	}
	if share := float64(moved) * n / ringKeys; share < 0.5 || share > 1.5 {
		t.Errorf("%.2f of a share has moved", share)
	}
}

func TestRingAllVersionsOfAKeyHaveOneOwner(t *testing.T) {
	g, _ := newGroup(t, Config{Address: "a:1"}, nil)
	if err := g.SetPeers(addresses(5)); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		key := fmt.Appendf(nil, "\x00key %d", i)
		for _, version := range []uint64{0, 2, 1<<64 - 2} {
			client, remote := g.instance.PickPeer(VersionedKey{key, version}.ringKey())
			owner := ""
			if remote {
				owner = client.HashKey()
			}
			if owner != g.Owner(key) {
				t.Fatalf("version %d of %q belongs to %q, the key to %q", version, key, owner, g.Owner(key))
			}
		}
	}
}

func TestRingAClientOwnsNothing(t *testing.T) {
	if owners := ringOf(t, "", addresses(2)); slices.Contains(owners, "") {
		t.Error("the client owns a key")
	}
}

func TestRingAProcessAloneOwnsEverything(t *testing.T) {
	for _, self := range []string{"", "a:1"} {
		for _, owner := range ringOf(t, self, nil) {
			if owner != self {
				t.Fatalf("%q owns a key of %q", owner, self)
			}
		}
	}
}

// After a restart the earlier process may still have a row, with the same address.
func TestRingOwnAddressIsThisProcess(t *testing.T) {
	all := addresses(3)
	if want := ringOf(t, all[0], all[1:]); !slices.Equal(ringOf(t, all[0], all), want) {
		t.Error("an earlier process at this address owns this process's keys")
	}
	g, _ := newGroup(t, Config{Address: all[0]}, nil)
	if err := g.SetPeers(all); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if owner := g.Owner(fmt.Appendf(nil, "key %d", i)); owner == all[0] {
			t.Fatal("own keys are requested over the network")
		}
	}
}
