package load

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeSMTP accepts every other message, and answers refusal to those between.
func fakeSMTP(t *testing.T, refusal string) (address string, content chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	content = make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				c.Write([]byte("220 hello\r\n"))
				for n := 0; ; {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
					case "EHLO":
						c.Write([]byte("250-fake\r\n250 PIPELINING\r\n"))
					case "DATA":
						c.Write([]byte("354 go on\r\n"))
						var text strings.Builder
						for line != ".\r\n" {
							if line, err = in.ReadString('\n'); err != nil {
								return
							}
							text.WriteString(line)
						}
						if n++; n%2 == 0 {
							c.Write([]byte(refusal + "\r\n"))
							continue
						}
						content <- strings.TrimSuffix(text.String(), ".\r\n")
						c.Write([]byte("250 taken\r\n"))
					case "QUIT":
						c.Write([]byte("221 bye\r\n"))
						return
					default:
						c.Write([]byte("250 fine\r\n"))
					}
				}
			}()
		}
	}()
	return l.Addr().String(), content
}

func TestSendersSendWhatIsPrepared(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	address, content := fakeSMTP(t, "250 taken too")
	b := NewBook(make([]Mailbox, 10))
	r := Senders{
		Address: address, Connections: 1, PerConnection: 1, Messages: 6, Mailbox: Everywhere,
		Contents: NewContents(Share{4 << 10, 1}, Share{75 << 10, 1}), Book: b,
	}.Run(ctx)
	if r.Err() != nil || r.Operations != 6 || len(r.Latencies) != 6 {
		t.Fatalf("%d accepted, %v", r.Operations, r.Err())
	}
	for range 6 {
		// readMessage looks for the token below a trace field.
		if _, _, err := readMessage([]byte("Received: here\r\n" + <-content)); err != nil {
			t.Error(err)
		}
	}
	if missing, _ := b.Unsettled(); missing != 6 {
		t.Errorf("%d due, want 6", missing)
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	address, _ := fakeSMTP(t, "451 later")
	b := NewBook(make([]Mailbox, 10))
	r := Senders{
		Address: address, Connections: 1, Messages: 2, Mailbox: Everywhere,
		Contents: NewContents(Share{4 << 10, 1}), Book: b,
	}.Run(ctx)
	if r.Operations != 1 || r.Errors != 1 || r.Err() == nil {
		t.Errorf("%d accepted, %d errors, %v", r.Operations, r.Errors, r.Err())
	}
	if missing, _ := b.Unsettled(); missing != 1 {
		t.Errorf("%d due, want 1", missing)
	}
}
