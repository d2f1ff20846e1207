# make            build ./mailsrv
# make run        build and start a server on loopback, ready for look@me.com
# make test       everything, with the race detector and real clients
# make check      what is said of the code without running it
# make fuzz       random input to parsers and sessions; make minimise keeps what it found to try
# make crash      kill a loaded server again and again, and ask for all it promised
# make faults     full disks, races for the last of a quota, bad peers
# make soak       an hour of load, and nothing may grow
# make powerloss  what a power cut can leave of a store
# make bench      measure the server beside its peers; as root, takes half an hour
# make install    binary, unit, configuration and manual pages into $(DESTDIR)$(PREFIX)

GO       ?= go
TAGS     := sqlite_omit_load_extension
GOFLAGS  += -tags=$(TAGS)
PREFIX   ?= /usr/local
export GOFLAGS
# SQLite as its own build script configures it on Linux: fdatasync, which leaves
# out the journal of the file system where a file has not grown (a third more
# commits). And no count of its memory, which every allocation would lock.
export CGO_CFLAGS = -O2 -g -DHAVE_FDATASYNC=1 -DSQLITE_DEFAULT_MEMSTATUS=0 -DSQLITE_ENABLE_QPSG=1
export CGO_ENABLED = 1

.PHONY: all build run test check fuzz minimise crash faults soak powerloss bench install clean

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

# Go writes only what fails to testdata/fuzz, and all else that it found to try to
# its cache. Of both this keeps what reaches more code, some twenty a target.
minimise:
	@deploy/setup build
	$(GO) run .ci/minimise/main.go

# KILLS is the number of kills, PREFILL the number of messages in the store at a start.
# SEED repeats the choices of a run.
KILLS   ?= 300
PREFILL ?= 200000
SEED    ?=
proof = PROOF_SEED=$(SEED) $(GO) test -count=1 -parallel=1 -timeout=6h -v ./test/proof
crash:
	@deploy/setup build
	PROOF_KILLS=$(KILLS) PROOF_PREFILL=$(PREFILL) $(proof) -run 'TestKill|TestLargeStore|TestSecondServer'

# DISKS is how often each way to fill a disk is tried, RACES the number of races of a
# second each, PEERS how often all bad peers come.
DISKS ?= 10
RACES ?= 100
PEERS ?= 20
faults:
	@deploy/setup build
	PROOF_DISKS=$(DISKS) PROOF_RACES=$(RACES) PROOF_PEERS=$(PEERS) $(proof) -run 'TestFullDisk|TestQuotaRaces|TestBadPeers|TestGuessers|TestBrokenOff'

# SOAK is how long everything runs at once, in seconds.
SOAK ?= 3600
soak:
	@deploy/setup build
	PROOF_SOAK=$(SOAK) $(proof) -run TestSoak

# Cuts the power of a recorded store so often: at each sync in turn, then anywhere.
CUTS ?= 500
powerloss:
	@deploy/setup build
	CUTS=$(CUTS) ROUNDS=30 $(GO) test -count=1 -timeout 1h -v ./test/powerloss

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
