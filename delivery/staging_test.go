package delivery

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/refusal"
	"mailsrv/quota"
	"mailsrv/storage/memory"
)

// stalling is content that stops, and ends in an error once its context does.
type stalling struct {
	ctx context.Context
	io.Reader
}

func (s stalling) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return n, err
}

// One network's transfers do not hold the staging that others wait for; who moves, or
// holds no more than its share, is let be.
func TestStagingIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxStaged = 16 * buffers.Max
		w := newWorldOn(t, memory.New(memory.Options{MaxStaged: maxStaged}), Settings{MaxMessageSize: 4 * buffers.Max})
		w.agent = New(Options{Store: w.store, Directory: w.store, Hostname: "mail.me.com", Logger: w.agent.logger,
			Settings: Settings{MaxMessageSize: 4 * buffers.Max}, MaxStaged: maxStaged})
		w.mailbox("a@me.com", quota.Unlimited)
		long := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 4*buffers.Max/64-100) // stages three
		line, hangUp := context.WithCancel(background)
		defer hangUp()
		deliver := func(network string, content func(ctx context.Context) io.Reader) chan error {
			ctx, cancel := context.WithCancel(background)
			context.AfterFunc(line, cancel)
			ctx, done := buffers.As(ctx, []netip.Prefix{netip.MustParsePrefix(network)}, cancel)
			result := make(chan error, 1)
			go func() {
				defer done()
				tr := w.begin(0)
				if err := tr.AddRecipient(ctx, address("a@me.com")); err != nil {
					result <- err
					return
				}
				_, err := tr.Deliver(ctx, content(ctx))
				result <- err
			}()
			synctest.Wait()
			return result
		}
		stalled := func(ctx context.Context) io.Reader { return stalling{ctx, strings.NewReader(long)} }
		var greedy []chan error
		for range 5 { // fifteen of sixteen
			greedy = append(greedy, deliver("192.0.2.1/32", stalled))
		}
		begun := time.Now()
		other := deliver("192.0.2.2/32", func(context.Context) io.Reader { return strings.NewReader(long) })
		if err := <-other; err != nil || time.Since(begun) > stagingWait/2 {
			t.Errorf("another network's message, after %v: %v", time.Since(begun), err)
		}
		if err := <-greedy[4]; err == nil {
			t.Error("the youngest was accepted")
		}
		for i, result := range greedy[:4] {
			select {
			case err := <-result:
				t.Errorf("transfer %d of the network has ended: %v", i, err)
			default:
			}
		}
		// A while later it may have what nobody else waits for, and no more.
		time.Sleep(stagingWait)
		fifth := deliver("192.0.2.1/32", stalled)
		sixth := deliver("192.0.2.1/32", func(context.Context) io.Reader { return strings.NewReader(long) })
		w.wantReason(<-sixth, refusal.NoMemory)
		hangUp()
		for _, result := range append(greedy[:4], fifth) {
			<-result
		}
	})
}
