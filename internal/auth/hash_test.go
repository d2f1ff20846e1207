package auth

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/bounded"
)

// foreign holds hashes made by other programs: libxcrypt, OpenSSL, and the
// reference implementation of argon2.
var foreign = []struct{ name, password, hash string }{
	{"sha512", "correct horse", "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/"},
	{"sha512 rounds", "pässwörd", "$6$rounds=10000$rasmuslerdorf$3Oru//T6s0eyA9UgVAKstxQugP0h4u7vol9HR76PYjccPFY6TIZR267m22hM2YgJYqr3ikrFoiNz/dzGnVats1"},
	{"sha512 openssl", "correct horse", "$6$openssl.salt$M.kw.5jm/zxKeiYWVXBSuJPmwdd2IJMSP1uHEsQHPMhbOQRXeJaLyEuQkCnCNc7oPGSFO5cRckkY.Q2909Hjf1"},
	{"sha256", "correct horse", "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC"},
	{"sha256 rounds", "x", "$5$rounds=1000$toolongsalt12345$WZ1vq/TgnmOW56QVUrM6XkPFpP3kF.HmgrYLILn583D"},
	{"sha256 openssl", "correct horse", "$5$openssl.salt$3aMBc2huspnqrdMoCI.i7L4JyZouDKS5JjNAgIkb9ZD"},
	{"bcrypt 2y", "correct horse", "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"},
	{"bcrypt 2b", "correct horse", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"},
	{"bcrypt 2a", "pässwörd", "$2a$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC"},
	{"argon2id", "password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
}

func TestForeignHashesMatch(t *testing.T) {
	for _, v := range foreign {
		t.Run(v.name, func(t *testing.T) {
			h, err := parseHash(v.hash)
			if err != nil {
				t.Fatal(err)
			}
			if !h.matches([]byte(v.password)) {
				t.Error("the right password does not match")
			}
			for _, wrong := range []string{v.password + "x", v.password[1:], strings.ToUpper(v.password)} {
				if h.matches([]byte(wrong)) {
					t.Errorf("%q matches", wrong)
				}
			}
			if !h.foreign {
				t.Error("not told apart from our own")
			}
		})
	}
}

func TestHash(t *testing.T) {
	const password = "Tür und Tor"
	first, second := mustHash(t, password), mustHash(t, password)
	if first == second {
		t.Error("two hashes have one salt")
	}
	if form := regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[^$]{22}\$[^$]{43}$`); !form.MatchString(first) {
		t.Errorf("hash %s", first)
	}
	h, err := parseHash(first)
	if err != nil {
		t.Fatal(err)
	}
	if h.foreign || h.outdated {
		t.Error("our own hash counts as foreign or outdated")
	}
	if !h.matches([]byte(password)) || h.matches([]byte("Tür und tor")) {
		t.Error("matches wrongly")
	}
}

func TestHashRefusesPassword(t *testing.T) {
	for name, password := range map[string]string{
		"empty":    "",
		"too long": strings.Repeat("x", maxPassword+1),
		"NUL":      "a\x00b",
		"CR":       "a\rb",
		"tab":      "a\tb",
		"escape":   "\x1b[A",
		"DEL":      "a\x7f",
		"C1":       "a\u0085b",
	} {
		if hash, err := Hash(password); err == nil || hash != "" {
			t.Errorf("%s: %q, %v", name, hash, err)
		}
	}
	for name, password := range map[string]string{
		"the longest": strings.Repeat("x", maxPassword), "spaces": " a b ", "UTF-8": "grün\u00a0€", "Latin-1": "gr\xfcn\x85",
	} {
		if err := checkPassword(password); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateHash(t *testing.T) {
	const (
		salt = "c29tZXNhbHRzb21lc2Fs"
		key  = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
		blow = "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
	)
	sha512 := strings.Repeat("a", 86)
	for _, test := range []struct {
		hash string
		ok   bool
	}{
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key, true},
		{"$argon2id$v=19$m=65536,t=3,p=4$" + salt + "$" + key, true},
		{"$argon2id$v=19$m=131072,t=4,p=8$" + salt + "$" + key, true},
		{"$argon2id$v=19$m=131073,t=1,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=131072,t=5,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=8,t=999999999,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=999999999999,t=1,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=19456,t=2,p=255$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=8,t=2,p=2$" + salt + "$" + key, false},
		{"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key, false},
		{"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key, false},
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key[:20], false},
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "x$" + key, false},
		{"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key + "=", false},
		{"$2y$16$" + blow, true},
		{"$2y$17$" + blow, false},
		{"$2y$31$" + blow, false},
		{"$2y$03$" + blow, false},
		{"$2x$10$" + blow, false},
		{"$2y$10$" + blow + "a", false},
		{"$2y$10$" + blow[1:], false},
		{"$6$salt$" + sha512, true},
		{"$6$rounds=1000000$salt$" + sha512, true},
		{"$6$rounds=1000001$salt$" + sha512, false},
		{"$6$rounds=999999999$salt$" + sha512, false},
		{"$6$rounds=99999999999999999999$salt$" + sha512, false},
		{"$6$rounds=999$salt$" + sha512, false},
		{"$6$$" + sha512, false},
		{"$6$saltsaltsaltsalts$" + sha512, false},
		{"$6$salt$" + sha512[1:], false},
		{"$5$salt$" + sha512[:43], true},
		{"$5$rounds=999999999$salt$" + sha512[:43], false},
		{"$5$salt$" + sha512, false},
		{"", false},
		{"secret", false},
		{"$1$salt$0123456789012345678901", false},
		{"{SHA512-CRYPT}$6$salt$" + sha512, false},
		{"$6$salt$" + sha512 + "\n", false},
	} {
		err := ValidateHash(test.hash)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.hash, err)
		}
		if err != nil && test.hash != "" && strings.Contains(err.Error(), test.hash) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
}

func TestGenerate(t *testing.T) {
	form := regexp.MustCompile(`^[a-z2-7]{4}(-[a-z2-7]{4}){4}$`)
	seen := map[string]bool{}
	for range 100 {
		password := Generate()
		if !form.MatchString(password) || seen[password] {
			t.Fatalf("generated %q", password)
		}
		seen[password] = true
	}
}

// A login with a foreign hash leaves one of ours behind.
func TestForeignHashIsReplaced(t *testing.T) {
	for _, v := range foreign {
		t.Run(v.name, func(t *testing.T) {
			f := newFixture()
			m := f.people.add(t, "look@me.com", v.hash)
			got, err := f.Login(t.Context(), home, "look@me.com", v.password)
			if err != nil {
				t.Fatal(err)
			}
			now := f.people.hash(t, m)
			if err := f.Stands(t.Context(), got); err != nil {
				t.Errorf("its login does not stand: %v", err)
			}
			if v.name == "argon2id" { // dearer than ours: it stays
				if now != v.hash {
					t.Errorf("replaced by %s", now)
				}
			} else if !strings.HasPrefix(now, "$argon2id$v=19$m=19456,t=2,p=1$") {
				t.Fatalf("stored hash %s", now)
			}
			f.memory.verified = bounded.NewTable[digest, time.Time](rememberCount)
			if _, err := f.login(t, home, "look@me.com", v.password); err != nil {
				t.Errorf("with the new hash: %v", err)
			}
			if _, err := f.login(t, home, "look@me.com", v.password+"x"); !errors.Is(err, ErrRefused) {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
}

func TestWeakArgonIsReplaced(t *testing.T) {
	h, err := parseHash("$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHRzb21lc2Fs$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !h.outdated || !h.foreign {
		t.Errorf("outdated %t, foreign %t", h.outdated, h.foreign)
	}
}
