package transport

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkCall measures one round trip, alone and with many at once.
func BenchmarkCall(b *testing.B) {
	for _, way := range ways {
		for _, size := range []int{100, 10_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%dB", way.name, size), func(b *testing.B) { benchmarkCall(b, way.listen(b), way.secret, size, 0) })
		}
		b.Run(way.name+"/100B/64 at once", func(b *testing.B) { benchmarkCall(b, way.listen(b), way.secret, 100, 64) })
	}
}

func benchmarkCall(b *testing.B, listen string, secret Secret, size, atOnce int) {
	server := newNode(b, func(o *Options) { o.Listen, o.Secret = []string{listen}, secret })
	s := dial(b, newNode(b, func(o *Options) { o.Secret = secret }), server)
	body := make([]byte, size)
	one := func() {
		if _, err := s.Call(context.Background(), kindEcho, body); err != nil {
			b.Error(err)
		}
	}
	began := time.Now()
	if atOnce == 0 {
		for b.Loop() {
			one()
		}
	} else {
		b.SetParallelism(atOnce)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				one()
			}
		})
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/float64(b.N), "µs/call")
}

// BenchmarkHandshake measures the time until a session has begun at both sides.
func BenchmarkHandshake(b *testing.B) {
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			server := newNode(b, func(o *Options) { o.Listen, o.Secret = []string{way.listen(b)}, way.secret })
			client := newNode(b, func(o *Options) { o.Secret = way.secret })
			for b.Loop() {
				s := dial(b, client, server)
				call(b, s, "hello")
				s.Close(nil)
				<-s.Done()
			}
		})
	}
}
