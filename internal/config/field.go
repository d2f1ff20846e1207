package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// field is a place in a Config and how a text is read into it.
type field struct {
	at   any // pointer to the place
	list bool
	// set reads text; a relative path counts from the folder base. Its error
	// says what to write.
	set func(text, base string) error
}

// hostname is the name this server goes by in greetings and trace fields.
func hostname(at *string) field {
	return field{at: at, set: func(text, _ string) (err error) {
		if text == "" {
			return nil // the machine's, see Load
		}
		if *at, err = mail.ParseDomain(text); err != nil {
			return errors.New("write the full name of this server, such as mail.me.com")
		}
		return nil
	}}
}

const (
	required = true
	optional = false
)

func path(at *string, needed bool) field {
	return field{at: at, set: func(text, base string) error {
		switch {
		case text == "" && needed:
			return errors.New("write the path of a folder, such as /var/lib/mailsrv")
		case strings.ContainsRune(text, 0):
			return errors.New("write a path without a NUL octet")
		case text != "" && !filepath.IsAbs(text):
			text = filepath.Join(base, text)
		}
		*at = text
		return nil
	}}
}

// storeURL names a store. Which there are internal/backend knows; of a file the path is
// made absolute.
func storeURL(at *string) field {
	return field{at: at, set: func(text, base string) error {
		const file = "sqlite:"
		if name, ok := strings.CutPrefix(text, file); ok && name != "" {
			if err := path(&name, optional).set(name, base); err != nil {
				return err
			}
			text = file + name
		}
		*at = text
		return nil
	}}
}

func size(at *int64, least, most int64) field {
	return field{at: at, set: func(text, _ string) error {
		octets, err := quota.ParseSize(text)
		switch {
		case err != nil && least > 0:
			return errors.New("write a number and a unit, such as 64MiB or 1GB")
		case err != nil:
			return errors.New("write a number and a unit, such as 500MiB or 1GB, or 0")
		case octets < least && most == math.MaxInt64:
			return fmt.Errorf("write a size of at least %s", quota.FormatSize(least))
		case octets < least, octets > most:
			return fmt.Errorf("write a size from %s to %s", quota.FormatSize(least), quota.FormatSize(most))
		}
		*at = octets
		return nil
	}}
}

// sizeOrNone is size for a key that may be left empty, which is 0.
func sizeOrNone(at *int64, least int64) field {
	read := size(at, least, math.MaxInt64).set
	return field{at: at, set: func(text, base string) error {
		if text == "" {
			*at = 0
			return nil
		}
		return read(text, base)
	}}
}

func count[N int | int64](at *N, least, most N) field {
	return field{at: at, set: func(text, _ string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case (err != nil || N(n) < least) && least == 0:
			return errors.New("write a whole number such as 100, or 0 for no limit")
		case err != nil, N(n) < least, N(n) > most:
			return fmt.Errorf("write a whole number from %d to %d", least, most)
		}
		*at = N(n)
		return nil
	}}
}

func duration(at *time.Duration, least, most time.Duration) field {
	return field{at: at, set: func(text, _ string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < least || d > most {
			return fmt.Errorf("write a number and a unit such as 90s, 5m or 1h, from %s to %gh", least, most.Hours())
		}
		*at = d
		return nil
	}}
}

func choice(at *string, choices ...string) field {
	return field{at: at, set: func(text, _ string) error {
		for _, c := range choices {
			if strings.EqualFold(text, c) {
				*at = c
				return nil
			}
		}
		last := len(choices) - 1
		return errors.New("write " + strings.Join(choices[:last], ", ") + " or " + choices[last])
	}}
}

func level(at *slog.Level) field {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError,
	}
	return field{at: at, set: func(text, _ string) error {
		l, known := levels[strings.ToLower(text)]
		if !known {
			return errors.New("write debug, info, warn or error")
		}
		*at = l
		return nil
	}}
}

// listOf is a list whose items read reads.
func listOf[T any](at *[]T, read func(item string) (T, error)) field {
	return field{at: at, list: true, set: func(text, _ string) error {
		*at = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			value, err := read(item)
			if err != nil {
				return err
			}
			*at = append(*at, value)
		}
		return nil
	}}
}

func addresses(at *[]string) field {
	return listOf(at, func(item string) (string, error) { return item, checkAddress(item) })
}

// networks are IP networks; an address stands for itself.
func networks(at *[]netip.Prefix) field {
	return listOf(at, func(item string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(item)
		if a, single := netip.ParseAddr(item); single == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil || p != p.Masked() {
			return p, errors.New("write addresses or networks, such as 10.0.0.5 or 2001:db8:1::/48")
		}
		return p, nil
	})
}

func checkAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("write host:port, such as :25, 127.0.0.1:2525 or [::1]:2525")
	}
	return nil
}
