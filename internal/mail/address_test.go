package mail_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"mailsrv/internal/mail"
)

func TestParseAddress(t *testing.T) {
	for _, test := range []struct {
		text string
		want mail.Address
		out  string // if String gives something else than text
	}{
		{"look@me.com", mail.Address{Local: "look", Domain: "me.com"}, ""},
		{"Look@Me.COM", mail.Address{Local: "Look", Domain: "me.com"}, "Look@me.com"},
		{"look@me.com.", mail.Address{Local: "look", Domain: "me.com"}, "look@me.com"},
		{"a.b+tag@me.com", mail.Address{Local: "a.b+tag", Domain: "me.com"}, ""},
		{"!#$%&'*+-/=?^_`{|}~@me.com", mail.Address{Local: "!#$%&'*+-/=?^_`{|}~", Domain: "me.com"}, ""},
		{`"lo ok"@me.com`, mail.Address{Local: "lo ok", Domain: "me.com"}, ""},
		{`"look"@me.com`, mail.Address{Local: "look", Domain: "me.com"}, "look@me.com"},
		{`"x@evil.com"@me.com`, mail.Address{Local: "x@evil.com", Domain: "me.com"}, ""},
		{`"a\"b\\c"@me.com`, mail.Address{Local: `a"b\c`, Domain: "me.com"}, ""},
		{`"\a"@me.com`, mail.Address{Local: "a", Domain: "me.com"}, "a@me.com"},
		{`".a"@me.com`, mail.Address{Local: ".a", Domain: "me.com"}, ""},
		{`"a..b"@me.com`, mail.Address{Local: "a..b", Domain: "me.com"}, ""},
		{"jörg@me.com", mail.Address{Local: "jörg", Domain: "me.com"}, ""},
		{"look@bücher.example", mail.Address{Local: "look", Domain: "xn--bcher-kva.example"}, "look@xn--bcher-kva.example"},
		{"look@BÜCHER.example", mail.Address{Local: "look", Domain: "xn--bcher-kva.example"}, "look@xn--bcher-kva.example"},
		{"look@XN--BCHER-KVA.example", mail.Address{Local: "look", Domain: "xn--bcher-kva.example"}, "look@xn--bcher-kva.example"},
		{"look@straße.example", mail.Address{Local: "look", Domain: "xn--strae-oqa.example"}, "look@xn--strae-oqa.example"},
		{"look@例え。テスト", mail.Address{Local: "look", Domain: "xn--r8jz45g.xn--zckzah"}, "look@xn--r8jz45g.xn--zckzah"},
		{"look@my_host.example", mail.Address{Local: "look", Domain: "my_host.example"}, ""},
		{"look@localhost", mail.Address{Local: "look", Domain: "localhost"}, ""},
		{"look@[192.0.2.1]", mail.Address{Local: "look", Domain: "[192.0.2.1]"}, ""},
		{"look@[IPv6:2001:DB8::0:1]", mail.Address{Local: "look", Domain: "[IPv6:2001:db8::1]"}, "look@[IPv6:2001:db8::1]"},
		{"look@[ipv6:2001:db8::1]", mail.Address{Local: "look", Domain: "[IPv6:2001:db8::1]"}, "look@[IPv6:2001:db8::1]"},
		{strings.Repeat("a", 64) + "@me.com", mail.Address{Local: strings.Repeat("a", 64), Domain: "me.com"}, ""},
		{"a+" + strings.Repeat("b", 64) + "@me.com", mail.Address{Local: "a+" + strings.Repeat("b", 64), Domain: "me.com"}, ""},
		{"look@" + strings.Repeat("a", 63) + ".example", mail.Address{Local: "look", Domain: strings.Repeat("a", 63) + ".example"}, ""},
	} {
		got, err := mail.ParseAddress(test.text)
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v", test.text, got, err)
		}
		if test.out == "" {
			test.out = test.text
		}
		if got.String() != test.out {
			t.Errorf("%s is written %s", test.text, got)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, text := range []string{
		"", "@", "look", "look@", "@me.com", `""@me.com`, "lo ok@me.com", " look@me.com", "look@me.com ",
		".look@me.com", "look.@me.com", "lo..ok@me.com", "a@b@me.com", "look,x@me.com", "<look@me.com>",
		`"look@me.com`, `look"@me.com`, `"a"b"@me.com`, `"a\"@me.com`, `"@me.com`, `"a" @me.com`,
		"look@me..com", "look@.me.com", "look@me.com..", "look@me com", "look@me,com", "look@me.com>",
		"look@[192.0.2.1", "look@[192.0.2.256]", "look@[]", "look@[IPv6:fe80::1%eth0]", "look@192.0.2.1]", "look@[me.com]",
		"look\r\n@me.com", "look@me.com\r\n", "\"a\rb\"@me.com", "\"a\x00b\"@me.com", "\"a\x7fb\"@me.com", "look@me\x00.com",
		"a\u0085b@me.com", "a\u009bb@me.com", "look@me\u0085.com", "a\xffb@me.com", "look@\xff.com",
		strings.Repeat("a", 65) + "@me.com",
		strings.Repeat("a", 65) + "+b@me.com",
		"a+" + strings.Repeat("b", 1000) + "@me.com",
		"look@" + strings.Repeat("a", 64) + ".example",
		"look@" + strings.Repeat("a.", 128) + "example",
	} {
		if got, err := mail.ParseAddress(text); !errors.Is(err, mail.ErrAddress) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// What go-smtp hands over has lost its quotes.
func TestSplitAddress(t *testing.T) {
	for text, want := range map[string]string{
		"look@me.com":         "look@me.com",
		"lo ok@me.com":        `"lo ok"@me.com`,
		"x@evil.com@me.com":   `"x@evil.com"@me.com`,
		`a"b@me.com`:          `"a\"b"@me.com`,
		`"@me.com`:            `"\""@me.com`,
		`\@me.com`:            `"\\"@me.com`,
		"a>b@me.com":          `"a>b"@me.com`,
		"look@BÜCHER.example": "look@xn--bcher-kva.example",

		strings.Repeat("a", 1000) + "@me.com": strings.Repeat("a", 1000) + "@me.com",
	} {
		a, err := mail.SplitAddress(text)
		if err != nil || a.String() != want {
			t.Errorf("%s: %s, %v", text, a, err)
		}
	}
	for _, text := range []string{
		"", "look", "@me.com", "look@", "a\r\nb@me.com", "look@me.com\nx", "look@me\x01.com", "a\x1b[31m@me.com", "a\u0090@me.com", "a\xff@me.com",
		strings.Repeat("a", 1001) + "@me.com",
	} {
		if a, err := mail.SplitAddress(text); !errors.Is(err, mail.ErrAddress) {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

func TestFold(t *testing.T) {
	for _, same := range [][]string{
		{"look@me.com", "LOOK@ME.COM", "Look@me.com."},
		{"jörg@me.com", "JÖRG@me.com", "jo\u0308rg@me.com", "JO\u0308RG@me.com"},
		{"strasse@me.com", "straße@me.com", "STRAẞE@me.com"},
		{"σίσυφος@me.com", "ΣΊΣΥΦΟΣ@me.com"},
		{`"lo ok"@me.com`, `"LO OK"@me.com`},
		{"look@bücher.example", "LOOK@XN--BCHER-KVA.EXAMPLE"},
		{"\uab70\uab8a\u13f8@me.com", "\u13a0\u13ba\u13f0@me.com", "\u13a0\uab8a\u13f8@me.com"}, // Cherokee
		{"i\u0307@me.com", "\u0130@me.com", "I\u0307@me.com"},
	} {
		want := parse(t, same[0]).Fold()
		for _, text := range same {
			if got := parse(t, text).Fold(); got != want {
				t.Errorf("%s folds to %s, %s to %s", text, got, same[0], want)
			}
		}
	}
	for _, differ := range [][2]string{
		{"look@me.com", "look+tag@me.com"},
		{"look@me.com", "lo.ok@me.com"},
		{"jörg@me.com", "jorg@me.com"},
		{"joerg@me.com", "jörg@me.com"},
		{"look@me.com", "look@me.org"},
		{"i@me.com", "\u0130@me.com"},
		{"i@me.com", "\u0131@me.com"},
		{"\u13a0@me.com", "\u13a1@me.com"},
	} {
		if parse(t, differ[0]).Fold() == parse(t, differ[1]).Fold() {
			t.Errorf("%s and %s fold alike", differ[0], differ[1])
		}
	}
}

// What is folded folds to itself, and so does what differs from it in case alone: else
// a mailbox is kept under a name by which nobody finds it, or another. Each letter by
// itself, and each that folding changes with marks behind it: those of Latin and Greek,
// and one of each other class.
func TestFoldIsStable(t *testing.T) {
	folded := func(local string) string { return mail.Address{Local: local, Domain: "me.com"}.Fold().Local }
	stable := func(local string) {
		once := folded(local)
		if twice := folded(once); twice != once {
			t.Errorf("%+q folds to %+q, and that to %+q", local, once, twice)
		}
	}
	var marks, changed []string
	classes := map[uint8]bool{}
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		letter := string(r)
		if class := norm.NFC.PropertiesString(letter).CCC(); class > 0 && (r < 0x370 || !classes[class]) {
			marks, classes[class] = append(marks, letter), true
		}
		stable(letter)
		once := folded(letter)
		if once != letter {
			changed = append(changed, letter)
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if got := folded(string(other)); got != once {
				t.Errorf("%+q folds to %+q, and %+q to %+q", letter, once, string(other), got)
			}
		}
	}
	if len(marks) < 100 || len(changed) < 1000 {
		t.Fatalf("%d marks, %d letters that fold", len(marks), len(changed))
	}
	for _, letter := range changed {
		var all strings.Builder
		for _, mark := range marks {
			all.WriteString(letter + mark + " ")
		}
		stable(all.String())
	}
}

// What addresses that are in use fold to never changes: rows hold it.
func TestFoldIsKept(t *testing.T) {
	for text, want := range map[string]string{
		"Look": "look", "JÖRG": "jörg", "o\u0308": "ö", "STRAẞE": "strasse", "ΣΊΣΥΦΟΣ": "σίσυφοσ", "ΐ": "ΐ", "\u0149": "\u02bcn",
		"Иван": "иван", "Ångström": "ångström", "\u212b": "å", "\u212a": "k", "\ufb01": "fi", "ǅ": "ǆ", "用户": "用户", "ＡＢ": "ａｂ", "İ": "i\u0307", "ı": "ı",
		"\u1e9e": "ss", "\u1fb4": "\u03ac\u03b9", "\u13a0": "\uab70", "\uab70": "\uab70", "\u13f0": "\u13f8", "Ⅷ": "ⅷ", "a\u202eB": "a\u202eb",
	} {
		if got := (mail.Address{Local: text, Domain: "me.com"}).Fold().Local; got != want {
			t.Errorf("%+q folds to %+q, want %+q", text, got, want)
		}
	}
}

func TestWithoutTag(t *testing.T) {
	for text, want := range map[string]string{
		"look+tag@me.com":  "look@me.com",
		"look+a+b@me.com":  "look@me.com",
		"look+@me.com":     "look@me.com",
		"look@me.com":      "",
		"+look@me.com":     "",
		"+look+tag@me.com": "",
	} {
		got, tagged := parse(t, text).WithoutTag()
		if tagged != (want != "") || tagged && got.String() != want || !tagged && got.String() != text {
			t.Errorf("%s: %s, %t", text, got, tagged)
		}
	}
}

func TestZeroAddress(t *testing.T) {
	var a mail.Address
	if !a.IsZero() || a.String() != "" || a.Fold() != a || parse(t, "look@me.com").IsZero() {
		t.Error("the null reverse-path is mistaken")
	}
}

func TestParseDomain(t *testing.T) {
	for text, want := range map[string]string{
		"me.com": "me.com", "ME.com.": "me.com", "bücher.example": "xn--bcher-kva.example",
		"ｍｅ.com": "me.com", "xn--invalid-a-label-.example": "xn--invalid-a-label-.example", "[192.0.2.1]": "[192.0.2.1]",
	} {
		if got, err := mail.ParseDomain(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ".", "..", "me.com..", "a b", "a\nb", "a/b", "a:b", "*", "[", "]", "[]"} {
		if got, err := mail.ParseDomain(text); !errors.Is(err, mail.ErrAddress) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := mail.NewID()
		if len(id) != 26 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func parse(t testing.TB, text string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Whatever comes in, by either way: what is written is one address without
// control characters, and reads as the same, but for what is too long for all but a
// path. Folding twice is folding once.
func FuzzAddress(f *testing.F) {
	for _, text := range []string{
		"look@me.com", `"lo ok"@me.com`, `"a\"b\\"@me.com`, "x@evil.com@me.com", "jörg@bücher.example", "a\r\nb@me.com",
		"look@[IPv6:::ffff:192.0.2.1]", "look@[IPv6:192.0.2.1]", "STRAẞE@İ.com", "ŉ@me.com", "\u0345α\u0301@me.com", "Ⅷ@me。com",
		"\u13a0\u13f0@me.com", "\uab70\u13f8\u0301@me.com", "I\u0323\u0307@me.com", "\u01c5\u1e9e\u0345@me.com",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, read := range []func(string) (mail.Address, error){mail.ParseAddress, mail.SplitAddress} {
			a, err := read(text)
			if err != nil {
				if !errors.Is(err, mail.ErrAddress) || !a.IsZero() {
					t.Fatalf("%q: %+v, %v", text, a, err)
				}
				continue
			}
			written := a.String()
			for i := range len(written) {
				if c := written[i]; c < 0x20 || c == 0x7F {
					t.Fatalf("%q is written %q", text, written)
				}
			}
			again, err := mail.ParseAddress(written)
			bare, _ := a.WithoutTag()
			if onlyPath := len(bare.Local) > 64; onlyPath != (err != nil) || !onlyPath && again != a {
				t.Fatalf("%q is written %q and read as %+v, %v", text, written, again, err)
			}
			folded := a.Fold()
			if folded.Local == "" || folded.Fold() != folded {
				t.Fatalf("%q folds to %q, and that to %q", text, folded, folded.Fold())
			}
			if again, err := mail.ParseAddress(folded.String()); err == nil && again != folded {
				t.Fatalf("%q folds to %+v and is read as %+v", text, folded, again)
			}
		}
	})
}
