package config_test

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/config"
	"mailsrv/quota"
	"mailsrv/test/asroot"
)

const machine = "mail.example.org"

// write lays a configuration file into a fresh folder.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t *testing.T, file string, environ ...string) *config.Config {
	t.Helper()
	c, err := config.Load(file, "", environ, machine)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everything sets each key to something else than its default.
var everything = []struct {
	key, yaml, env string
	want           func(c *config.Config) any
	value          any
}{
	{"hostname", "MX.Bücher.example", "MX.Bücher.example", func(c *config.Config) any { return c.Hostname }, "mx.xn--bcher-kva.example"},
	{"data_dir", "/srv/mail", "/srv/mail", func(c *config.Config) any { return c.DataDir }, "/srv/mail"},
	{"storage.url", "sqlite:/srv/db", "sqlite:/srv/db", func(c *config.Config) any { return c.Storage.URL }, "sqlite:/srv/db"},
	{"storage.min_free", "1GB", "1GB", func(c *config.Config) any { return c.Storage.MinFree }, int64(1e9)},
	{"storage.max_aside", "3GiB", "3GiB", func(c *config.Config) any { return c.Storage.MaxAside }, int64(3 << 30)},
	{"memory.buffers", "8388608", "8MiB", func(c *config.Config) any { return c.Memory.Buffers }, int64(8 << 20)},
	{"tls.cert_file", "/etc/c.pem", "/etc/c.pem", func(c *config.Config) any { return c.TLS.CertFile }, "/etc/c.pem"},
	{"tls.key_file", "/etc/k.pem", "/etc/k.pem", func(c *config.Config) any { return c.TLS.KeyFile }, "/etc/k.pem"},
	{"smtp.listen", `["127.0.0.1:2525", "[::1]:2525"]`, "127.0.0.1:2525, [::1]:2525", func(c *config.Config) any { return c.SMTP.Listen }, []string{"127.0.0.1:2525", "[::1]:2525"}},
	{"smtp.max_message_size", "2GiB", "2GiB", func(c *config.Config) any { return c.SMTP.MaxMessageSize }, int64(2 << 30)},
	{"smtp.max_recipients", "7", "7", func(c *config.Config) any { return c.SMTP.MaxRecipients }, 7},
	{"smtp.max_connections", "0", "0", func(c *config.Config) any { return c.SMTP.MaxConnections }, 0},
	{"smtp.max_connections_per_client", "2", "2", func(c *config.Config) any { return c.SMTP.MaxConnectionsPerClient }, 2},
	{"smtp.command_timeout", "90s", "90s", func(c *config.Config) any { return c.SMTP.CommandTimeout }, 90 * time.Second},
	{"smtp.data_idle_timeout", "1m30s", "1m30s", func(c *config.Config) any { return c.SMTP.DataIdleTimeout }, 90 * time.Second},
	{"smtp.min_rate", "0", "0", func(c *config.Config) any { return c.SMTP.MinRate }, int64(0)},
	{"smtp.max_staged", "5GiB", "5GiB", func(c *config.Config) any { return c.SMTP.MaxStaged }, int64(5 << 30)},
	{"smtp.proxy_protocol", `["10.0.0.5", "2001:db8::/32"]`, "10.0.0.5,2001:db8::/32", func(c *config.Config) any { return c.SMTP.ProxyProtocol }, []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("2001:db8::/32")}},
	{"smtp.bare_newline", "reject", "REJECT", func(c *config.Config) any { return c.SMTP.BareNewline }, config.Reject},
	{"pop3.listen", "[]", "", func(c *config.Config) any { return c.POP3.Listen }, []string(nil)},
	{"pop3.listen_tls", `":1995"`, ":1995", func(c *config.Config) any { return c.POP3.ListenTLS }, []string{":1995"}},
	{"pop3.plaintext_login", "never", "never", func(c *config.Config) any { return c.POP3.PlaintextLogin }, config.Never},
	{"pop3.max_connections", "10", "10", func(c *config.Config) any { return c.POP3.MaxConnections }, 10},
	{"pop3.max_connections_per_client", "3", "3", func(c *config.Config) any { return c.POP3.MaxConnectionsPerClient }, 3},
	{"pop3.idle_timeout", "1h", "1h", func(c *config.Config) any { return c.POP3.IdleTimeout }, time.Hour},
	{"pop3.lock_takeover_after", "2s", "2s", func(c *config.Config) any { return c.POP3.LockTakeoverAfter }, 2 * time.Second},
	{"pop3.proxy_protocol", `"192.0.2.0/24"`, "192.0.2.0/24", func(c *config.Config) any { return c.POP3.ProxyProtocol }, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	{"pop3.lock_wait", "0s", "0s", func(c *config.Config) any { return c.POP3.LockWait }, time.Duration(0)},
	{"pop3.login_delay", "90s", "90s", func(c *config.Config) any { return c.POP3.LoginDelay }, 90 * time.Second},
	{"quota.default_size", "0", "0", func(c *config.Config) any { return c.Quota.DefaultSize }, int64(0)},
	{"quota.default_messages", "1000", "1000", func(c *config.Config) any { return c.Quota.DefaultMessages }, int64(1000)},
	{"quota.when_full", "defer", "defer", func(c *config.Config) any { return c.Quota.WhenFull }, config.Defer},
	{"shutdown_timeout", "0s", "0s", func(c *config.Config) any { return c.ShutdownTimeout }, time.Duration(0)},
	{"log.level", "debug", "Debug", func(c *config.Config) any { return c.Log.Level }, slog.LevelDebug},
	{"log.format", "json", "json", func(c *config.Config) any { return c.Log.Format }, config.JSON},
}

// nested writes "a.b: v" pairs as a YAML mapping of mappings; JSON is YAML, and
// the values stand as they are.
func nested(pairs [][2]string) string {
	var b strings.Builder
	section := ""
	for _, p := range pairs {
		parent, leaf, deep := strings.Cut(p[0], ".")
		switch {
		case !deep:
			leaf = parent
			b.WriteString(leaf + ": " + p[1] + "\n")
			continue
		case parent != section:
			section = parent
			b.WriteString(section + ":\n")
		}
		b.WriteString("  " + leaf + ": " + p[1] + "\n")
	}
	return b.String()
}

func TestEveryKeyFromFile(t *testing.T) {
	var pairs [][2]string
	for _, row := range everything {
		pairs = append(pairs, [2]string{row.key, row.yaml})
	}
	c := load(t, write(t, nested(pairs)))
	for _, row := range everything {
		if got := row.want(c); !reflect.DeepEqual(got, row.value) {
			t.Errorf("%s: %s gave %#v, want %#v", row.key, row.yaml, got, row.value)
		}
	}
	changed := map[string]bool{}
	for _, change := range config.Changes(load(t, write(t, "")), c) {
		changed[change.Key] = true
	}
	for _, name := range config.Names() {
		if !changed[name] {
			t.Errorf("the table of this test misses %s", name)
		}
	}
}

// TRAPS, viper: a key that stands only in the environment must not be lost.
func TestEveryKeyFromEnvironment(t *testing.T) {
	environ := []string{"HOME=/root", "MAILSRVX=1"}
	for _, row := range everything {
		name := "MAILSRV_" + strings.ToUpper(strings.ReplaceAll(row.key, ".", "_"))
		environ = append(environ, name+"="+row.env)
	}
	c := load(t, write(t, "hostname: file.example\nsmtp: {max_recipients: 9}\n"), environ...)
	for _, row := range everything {
		if got := row.want(c); !reflect.DeepEqual(got, row.value) {
			t.Errorf("%s=%s gave %#v, want %#v", row.key, row.env, got, row.value)
		}
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestDefaultsEqualExample(t *testing.T) {
	example, err := filepath.Abs("../../deploy/mailsrv.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	got, want := load(t, example), load(t, write(t, ""))
	for _, change := range config.Changes(want, got) {
		t.Errorf("%s differs from its default", change.Key)
	}
	for _, name := range config.Names() {
		leaf := name[strings.LastIndexByte(name, '.')+1:]
		if !strings.Contains("\n"+strings.ReplaceAll(string(text), "  ", ""), "\n"+leaf+":") {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestSectionsMayBeEmpty(t *testing.T) {
	c := load(t, write(t, "smtp:\n  # listen: [\":2525\"]\npop3: {}\nquota:\n  default_size:\n"))
	for _, change := range config.Changes(load(t, write(t, "")), c) {
		t.Errorf("%s is not the default", change.Key)
	}
}

func TestBadValues(t *testing.T) {
	for _, row := range []struct{ name, yaml, env, want string }{
		{"unknown key", "smpt: {listen: [\":25\"]}", "", `configuration FILE: unknown key smpt.listen: did you mean smtp.listen?`},
		{"key of an earlier version", "metrics: {listen: \"\"}", "", `configuration FILE: unknown key metrics.listen`},
		{"unknown leaf", "smtp: {max_size: 5MiB}", "", `configuration FILE: unknown key smtp.max_size`},
		{"section forgotten", "max_message_size: 5MiB", "", `configuration FILE: unknown key max_message_size: did you mean smtp.max_message_size?`},
		{"section as value", "smtp: 25", "", `configuration FILE: smtp "25": write the keys of this section below it, indented`},
		{"value as section", "hostname: {name: x}", "", `configuration FILE: hostname is a value: it has no key hostname.name below it`},
		{"not YAML", "a: [", "", `configuration FILE is not valid YAML: yaml: line 1: did not find expected node content`},
		{"not a mapping", "hello", "", `configuration FILE is not valid YAML: yaml: unmarshal errors: line 1: cannot unmarshal !!str ` + "`hello`" + ` into map[string]interface {}`},
		{"twice", "hostname: a.example\nhostname: b.example", "", `configuration FILE is not valid YAML: yaml: unmarshal errors: line 2: mapping key "hostname" already defined at line 1`},
		{"list for one", "hostname: [a.example, b.example]", "", `configuration FILE: hostname: write one value, not a list`},
		{"size", "smtp: {max_message_size: large}", "", `configuration FILE: smtp.max_message_size "large": write a number and a unit, such as 64MiB or 1GB`},
		{"size too small", "smtp: {max_message_size: 10KiB}", "", `configuration FILE: smtp.max_message_size "10KiB": write a size from 64KiB to 2GiB`},
		{"size too large", "smtp: {max_message_size: 3GiB}", "", `configuration FILE: smtp.max_message_size "3GiB": write a size from 64KiB to 2GiB`},
		{"buffers", "memory: {buffers: 1KiB}", "", `configuration FILE: memory.buffers "1KiB": write a size of at least 1MiB`},
		{"negative", "quota: {default_size: -1}", "", `configuration FILE: quota.default_size "-1": write a number and a unit, such as 500MiB or 1GB, or 0`},
		{"count", "smtp: {max_recipients: 0}", "", `configuration FILE: smtp.max_recipients "0": write a whole number from 1 to 10000`},
		{"count or none", "pop3: {max_connections: -3}", "", `configuration FILE: pop3.max_connections "-3": write a whole number such as 100, or 0 for no limit`},
		{"duration without unit", "pop3: {idle_timeout: 10}", "", `configuration FILE: pop3.idle_timeout "10": write a number and a unit such as 90s, 5m or 1h, from 1s to 24h`},
		{"choice", "quota: {when_full: bounce}", "", `configuration FILE: quota.when_full "bounce": write reject or defer`},
		{"yes is no choice", "pop3: {plaintext_login: yes}", "", `configuration FILE: pop3.plaintext_login "yes": write never, loopback or always`},
		{"level", "log: {level: loud}", "", `configuration FILE: log.level "loud": write debug, info, warn or error`},
		{"address", "smtp: {listen: [\"25\"]}", "", `configuration FILE: smtp.listen "25": write host:port, such as :25, 127.0.0.1:2525 or [::1]:2525`},
		{"port", "smtp: {listen: [\"127.0.0.1:http\"]}", "", `configuration FILE: smtp.listen "127.0.0.1:http": write host:port, such as :25, 127.0.0.1:2525 or [::1]:2525`},
		{"hostname", "hostname: mail me", "", `configuration FILE: hostname "mail me": write the full name of this server, such as mail.me.com`},
		{"data_dir", "data_dir: \"\"", "", `configuration FILE: data_dir "": write the path of a folder, such as /var/lib/mailsrv`},
		{"renamed key", "storage: {driver: sqlite}", "", `configuration FILE: unknown key storage.driver: did you mean storage.url?`},
		{"another renamed key", "storage: {dsn: /srv/mail.db}", "", `configuration FILE: unknown key storage.dsn: did you mean storage.url?`},
		{"half a pair", "tls: {cert_file: /c.pem}", "", `configuration FILE: tls.cert_file "/c.pem": set tls.key_file too, or neither`},
		{"other half", "tls: {key_file: /k.pem}", "", `configuration FILE: tls.key_file "/k.pem": set tls.cert_file too, or neither`},
		{"staged", "smtp: {max_staged: 1MiB}", "", `configuration FILE: smtp.max_staged "1MiB": write at least smtp.max_message_size, 50MiB`},
		{"environment", "", "MAILSRV_SMTP_MAX_RECIPIENTS=many", `environment MAILSRV_SMTP_MAX_RECIPIENTS "many": write a whole number from 1 to 10000`},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := write(t, row.yaml)
			_, err := config.Load(file, "", []string{row.env}, machine)
			if err == nil {
				t.Fatal("loaded")
			}
			if got := strings.ReplaceAll(err.Error(), file, "FILE"); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestUnknownVariable(t *testing.T) {
	c := load(t, write(t, ""), "MAILSRV_SMTP_LISTN=:25", "MAILSRV_COLOUR=blue", "MAILSRV_STORAGE_DSN=/x", "MAILSRV_CONFIG=/elsewhere")
	want := []string{
		"environment MAILSRV_COLOUR is not a key and has no effect",
		"environment MAILSRV_SMTP_LISTN is not a key and has no effect: did you mean MAILSRV_SMTP_LISTEN?",
		"environment MAILSRV_STORAGE_DSN is not a key and has no effect: did you mean MAILSRV_STORAGE_URL?",
	}
	if !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("got %q", c.Warnings)
	}
}

func TestHostnameOfTheMachine(t *testing.T) {
	if c := load(t, write(t, "")); c.Hostname != machine || len(c.Advice) != 0 {
		t.Errorf("got %s, %q", c.Hostname, c.Advice)
	}
	c, err := config.Load(write(t, ""), "", nil, "laptop")
	if err != nil || c.Hostname != "localhost" || len(c.Advice) != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestRelativePaths(t *testing.T) {
	file := write(t, "data_dir: run\nstorage: {url: \"sqlite:run/mail.db\"}\n")
	c := load(t, file)
	if want := filepath.Join(filepath.Dir(file), "run"); c.DataDir != want || c.Storage.URL != "sqlite:"+want+"/mail.db" {
		t.Errorf("got %s and %s", c.DataDir, c.Storage.URL)
	}
	t.Chdir(t.TempDir())
	here, _ := os.Getwd()
	c = load(t, file, "MAILSRV_DATA_DIR=data", "MAILSRV_STORAGE_URL=sqlite:mail.db")
	if want := filepath.Join(here, "data"); c.DataDir != want || c.Storage.URL != "sqlite:"+here+"/mail.db" {
		t.Errorf("got %s and %s", c.DataDir, c.Storage.URL)
	}
}

// The file of the machine is read where no other is named or found.
func TestFileOfTheMachine(t *testing.T) {
	system := write(t, "hostname: mail.me.com\n")
	t.Chdir(t.TempDir())
	c, err := config.Load("", system, nil, machine)
	if err != nil || c.File != system || c.Hostname != "mail.me.com" {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err = config.Load("", system+".none", nil, machine); err != nil || c.File != "" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := config.Load("/nowhere/x.yaml", "", nil, machine)
	if want := "configuration /nowhere/x.yaml cannot be read: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	_, err = config.Load("", "", []string{"MAILSRV_CONFIG=/nowhere/y.yaml"}, machine)
	if err == nil || !strings.Contains(err.Error(), "/nowhere/y.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestLocalFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("mailsrv.yaml", []byte("data_dir: here"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := load(t, ""); filepath.Base(c.DataDir) != "here" || len(c.Warnings) != 0 {
		t.Errorf("own file: %s, %q", c.DataDir, c.Warnings)
	}
}

func TestFileOfAnother(t *testing.T) {
	if asroot.Rerun(t) {
		return
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("mailsrv.yaml", []byte("data_dir: here"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown("mailsrv.yaml", 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if c := load(t, ""); filepath.Base(c.DataDir) == "here" || len(c.Warnings) != 1 {
		t.Errorf("a stranger's file: %s, %q", c.DataDir, c.Warnings)
	}
	if err := os.Rename("mailsrv.yaml", "theirs.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("theirs.yaml", "mailsrv.yaml"); err != nil {
		t.Fatal(err)
	}
	if c := load(t, ""); filepath.Base(c.DataDir) == "here" {
		t.Error("a link to a stranger's file was followed")
	}
}

func TestChanges(t *testing.T) {
	before := load(t, write(t, ""))
	after := load(t, write(t, "smtp: {listen: [\":2525\"], max_recipients: 5}\nlog: {level: warn, format: json}\n"))
	want := []config.Change{
		{Key: "smtp.listen", Restart: true}, {Key: "smtp.max_recipients"},
		{Key: "log.level"}, {Key: "log.format", Restart: true},
	}
	if got := config.Changes(before, after); !reflect.DeepEqual(got, want) {
		text, _ := json.Marshal(got)
		t.Errorf("got %s", text)
	}
	if got := config.Changes(before, load(t, write(t, ""))); got != nil {
		t.Errorf("equal ones differ in %v", got)
	}
}

// In the file 0 is no limit; what is not set anywhere would inherit.
func TestLimit(t *testing.T) {
	c := config.Config{Quota: config.Quota{DefaultSize: 5}}
	if got, want := c.Limit(), (quota.Limit{Octets: 5, Messages: quota.Unlimited}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
