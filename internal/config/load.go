package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/viper"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// prefix is that of our environment variables.
const prefix = "MAILSRV_"

// Load reads the file named and the variables of environ ("NAME=value"), and validates
// the result. If named is empty it searches for a file, last at the path system, which
// need not exist. machine is the host's own name, used if the key hostname is not set.
func Load(named, system string, environ []string, machine string) (*Config, error) {
	c := &Config{}
	vars := variables(environ)
	file, warning, err := find(named, vars[prefix+"CONFIG"], system)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		c.Warnings = append(c.Warnings, warning)
	}
	c.File = file

	v, err := read(file)
	if err != nil {
		return nil, err
	}
	if err := refuseUnknown(file, v); err != nil {
		return nil, err
	}
	if err := c.set(v, vars); err != nil {
		return nil, err
	}
	c.Warnings = append(c.Warnings, unknownVariables(vars)...)
	c.completeHostname(machine)
	if err := c.checkTogether(); err != nil {
		return nil, err
	}
	return c, nil
}

// variables returns our variables of an environment, by name.
func variables(environ []string) map[string]string {
	vars := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, prefix) {
			vars[name] = value
		}
	}
	return vars
}

func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// read returns the values in a file, none if file is empty. Each load has a viper
// instance of its own, so that no value of an earlier load remains.
func read(file string) (*viper.Viper, error) {
	v := viper.New()
	if file == "" {
		return v, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		var reason *os.PathError
		if errors.As(err, &reason) {
			err = reason.Err
		}
		return nil, fmt.Errorf("configuration %s cannot be read: %w", file, err)
	}
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(data)); err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return nil, fmt.Errorf("configuration %s is not valid YAML: %s", file, strings.Join(strings.Fields(err.Error()), " "))
	}
	return v, nil
}

// set sets each field from the environment, the file or the default.
func (c *Config) set(v *viper.Viper, vars map[string]string) error {
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	for _, k := range c.keys() {
		source, base := c.Source()+": "+k.name, here
		if c.File != "" {
			base = filepath.Dir(c.File)
		}
		v.SetDefault(k.name, k.standard)
		if value, set := vars[variable(k.name)]; set {
			source, base = "environment "+variable(k.name), here
			v.Set(k.name, value)
		}
		text, single := textOf(v.Get(k.name), k.field.list)
		if !single {
			return fmt.Errorf("%s: write one value, not a list", source)
		}
		if err := k.field.set(text, base); err != nil {
			return fmt.Errorf("%s %q: %w", source, text, err)
		}
	}
	return nil
}

// textOf converts a value of the file into the form that it has in the environment, where
// the items of a list are separated by commas.
func textOf(value any, list bool) (text string, ok bool) {
	items, several := value.([]any)
	if !several {
		return strings.TrimSpace(fmt.Sprint(value)), true
	}
	if !list {
		return "", false
	}
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return strings.Join(texts, ","), true
}

// completeHostname sets an unset hostname to the machine's if that is a full name. Other
// servers refuse greetings and mail with a name that is not.
func (c *Config) completeHostname(machine string) {
	if c.Hostname != "" {
		return
	}
	name, err := mail.ParseDomain(machine)
	if err == nil && strings.Contains(name, ".") {
		c.Hostname = name
		return
	}
	c.Hostname = "localhost"
	c.Advice = append(c.Advice, fmt.Sprintf(
		"this machine's name %q is not a full one, so the server calls itself localhost: set hostname to the name in your MX record", machine))
}

// checkTogether checks the rules about several keys.
func (c *Config) checkTogether() error {
	switch {
	case c.TLS.CertFile != "" && c.TLS.KeyFile == "":
		return fmt.Errorf("%s: tls.cert_file %q: set tls.key_file too, or neither", c.Source(), c.TLS.CertFile)
	case c.TLS.CertFile == "" && c.TLS.KeyFile != "":
		return fmt.Errorf("%s: tls.key_file %q: set tls.cert_file too, or neither", c.Source(), c.TLS.KeyFile)
	case c.SMTP.MaxStaged < c.SMTP.MaxMessageSize:
		return fmt.Errorf("%s: smtp.max_staged %q: write at least smtp.max_message_size, %s", c.Source(),
			quota.FormatSize(c.SMTP.MaxStaged), quota.FormatSize(c.SMTP.MaxMessageSize))
	}
	return nil
}
