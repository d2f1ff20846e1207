# make            build ./mailsrv
# make run        build and start a server on loopback, ready for look@me.com
# make test       everything, with the race detector and real clients
# make check      what is said of the code without running it
# make powerloss  what a power cut can leave of a store
# make bench      measure the server beside its peers; as root, takes half an hour
# make install    binary, unit, configuration and manual pages into $(DESTDIR)$(PREFIX)

GO       ?= go
TAGS     := sqlite_omit_load_extension
GOFLAGS  += -tags=$(TAGS)
PREFIX   ?= /usr/local
export GOFLAGS
export CGO_ENABLED = 1

.PHONY: all build run test check fuzz powerloss bench install clean

all: build

build:
	@deploy/setup build
	@[ -e mailsrv ] || echo "mailsrv: the first build compiles SQLite, which takes a minute or two"
	$(GO) build -o mailsrv ./cmd/mailsrv

run: build
	@deploy/setup run
	@deploy/run

test:
	@deploy/setup test
	@[ -e build/testsum ] || echo "mailsrv: the first run compiles SQLite, which takes a minute or two"
	@.ci/test

check:
	@deploy/setup check
	@.ci/check

# Each fuzz target in turn, FUZZTIME each.
FUZZTIME ?= 1m
fuzz:
	@deploy/setup build
	@.ci/fuzz $(FUZZTIME)

# Cuts the power of a recorded store at so many moments.
CUTS ?= 500
powerloss:
	@deploy/setup build
	CUTS=$(CUTS) ROUNDS=30 $(GO) test -count=1 -timeout 1h -v ./internal/powerloss

# QUICK=1, ROUNDS=3, ROWS='smtp-16|login', ROWS=list: see bench/run.
bench:
	@deploy/setup build
	@bench/run

install:
	@[ -x mailsrv ] || $(MAKE) build
	install -D -m 755 mailsrv $(DESTDIR)$(PREFIX)/bin/mailsrv
	install -D -m 644 deploy/mailsrv.service $(DESTDIR)/etc/systemd/system/mailsrv.service
	[ -e $(DESTDIR)/etc/mailsrv/mailsrv.yaml ] || install -D -m 644 deploy/mailsrv.yaml $(DESTDIR)/etc/mailsrv/mailsrv.yaml
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	./mailsrv man $(DESTDIR)$(PREFIX)/share/man/man1

clean:
	rm -rf mailsrv build
