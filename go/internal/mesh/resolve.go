package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	resolveEvery   = 5 * time.Second // an address that is gone stays admitted for at most so long
	resolveSoonest = time.Second     // between two resolutions, however many addresses are rejected
	resolveTimeout = 2 * time.Second
)

// run resolves the DNS names periodically until ctx ends.
func (a *admission) run(ctx context.Context) {
	if len(a.dnsNames) == 0 {
		return
	}
	for {
		due := time.NewTimer(resolveEvery)
		select {
		case <-due.C:
		case <-a.wake:
			due.Reset(resolveSoonest)
			select {
			case <-due.C:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		due.Stop()
		if ctx.Err() != nil {
			return
		}
		if a.resolve(ctx) {
			a.changed()
		}
	}
}

// resolve looks up the addresses of all DNS names in parallel, and reports whether any changed.
func (a *admission) resolve(ctx context.Context) (changed bool) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	answers := make([][]string, len(a.dnsNames))
	errs := make([]error, len(a.dnsNames))
	var all sync.WaitGroup
	for i, name := range a.dnsNames {
		all.Go(func() { answers[i], errs[i] = lookup(ctx, name) })
	}
	all.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, name := range a.dnsNames {
		a.logOutcome(name, errs[i])
		if errs[i] == nil && !slices.Equal(a.found[name], answers[i]) {
			a.found[name], changed = answers[i], true
		}
	}
	for _, address := range slices.Sorted(maps.Keys(a.rejected)) {
		if a.knows(address) {
			delete(a.rejected, address)
		} else if !a.rejected[address] {
			a.logRejected(address)
		}
	}
	return changed
}

// logOutcome logs when a DNS name begins to fail, and when it is found again. The caller holds mu.
func (a *admission) logOutcome(name string, err error) {
	switch {
	case err != nil && !a.failing[name]:
		kept := "it admits no process"
		if n := len(a.found[name]); n > 0 {
			kept = fmt.Sprintf("its last %d addresses stay admitted", n)
		}
		a.log("warning", fmt.Sprintf("groupcache.peers: dns:%s cannot be resolved: %v: %s", name, err, kept))
	case err == nil && a.failing[name]:
		a.log("info", fmt.Sprintf("groupcache.peers: dns:%s is resolved again", name))
	}
	a.failing[name] = err != nil
}

// lookup returns the addresses of "host:port", sorted; there is at least one.
func lookup(ctx context.Context, name string) ([]string, error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, ip := range ips {
		addresses = append(addresses, net.JoinHostPort(ip.Unmap().String(), port))
	}
	if len(addresses) == 0 {
		return nil, errors.New("it has no address")
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nil
}
