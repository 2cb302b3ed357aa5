# Targets that people use: demo, test, build, edge, install, systemd, vrf, test-edge, test-edge-ci,
# test-kubernetes, bench, gobench, pgo, lint, fuzz, soak, size, cross, edge-cross, cross-test, image,
# container-test, clean.

GO      ?= go
FUZZ    ?= 10s
SOAK    ?= 1h
SOAK_RATE ?= 40

# grpcnotrace leaves out a tracer that nothing here uses: without the tag the linker can
# drop no method at all.
TAGS    := grpcnotrace
# The time of the commit: the program takes an earlier clock for wrong, and all files in the
# image have it. The same commit, Go and certificates give the same program and image.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS := -s -w -funcalign=8 -X main.buildTime=$(SOURCE_DATE_EPOCH)
# Inlining is for the data plane, handshakes and decisions only: elsewhere (gRPC,
# TLS, HTTP, YAML) it costs 1 MB and gains nothing that anyone could notice.
INLINED := runtime/... internal/... sync/... syscall net net/netip time bytes encoding/binary \
	crypto/internal/fips140/edwards25519/... golang.org/x/crypto/... golang.org/x/sys/... \
	golang.zx2c4.com/... gvisor.dev/... github.com/google/btree \
	$(addprefix github.com/wirespan/wirespan/,device/... mesh discovery discovery/codec discovery/wire firewall firewall/netlink bench/rig/load)
GCFLAGS := -gcflags=all=-l $(INLINED:%=-gcflags=%=)

BUILD := $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' $(GCFLAGS)
INLINED_EDGE := runtime/... internal/... golang.org/x/crypto/...
BUILD_EDGE := $(GO) build -trimpath -pgo=off -tags edge,$(TAGS) -ldflags '$(LDFLAGS)' -gcflags=all=-l $(INLINED_EDGE:%=-gcflags=%=)

export CGO_ENABLED = 0

.PHONY: build
build: ## the static binary, bin/wirespan
	$(BUILD) -o bin/wirespan ./cmd/wirespan

# The edge build leaves out what a router or gateway with little memory does without, and
# inlines nothing but ciphers: see docs/edge.md.
.PHONY: edge
edge: ## the small build for edge boxes, bin/wirespan-edge
	$(BUILD_EDGE) -o bin/wirespan-edge ./cmd/wirespan

.PHONY: install
install: ## the binary, the units and the group wirespan, below DESTDIR; make build first
	install -D -m 755 bin/wirespan $(DESTDIR)/usr/bin/wirespan
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system deploy/*.service
	install -D -m 644 -t $(DESTDIR)/usr/lib/sysusers.d deploy/sysusers.d/wirespan.conf
	test -n "$(DESTDIR)" || ! test -d /run/systemd/system || { systemd-sysusers wirespan.conf && systemctl daemon-reload; }

.PHONY: demo
demo: build ## a mesh of three nodes on this machine, unprivileged
	./bin/wirespan demo

# Packages with files for one of the two builds.
EDGE_PACKAGES := ./cmd/wirespan ./device/portmap ./mesh/access ./mesh/control ./mesh/node

.PHONY: test
test: tools ## unit tests with the race detector and, as root, the privileged suite
	cd testdata/interop && CGO_ENABLED=1 $(GO) test -race ./...
	cd deploy/container/image && $(GO) test -count 1 ./... # reads files outside of its module
	$(GO) vet -tags $(TAGS) ./...
	$(GO) vet -tags edge,$(TAGS) ./...
	$(GO) test -pgo=off -tags edge,$(TAGS) $(EDGE_PACKAGES)
	@# The race detector makes sync.Pool forget: allocations are counted without it.
	$(GO) test -pgo=off -tags $(TAGS) -run Alloc ./device/...
	$(GO) test -pgo=off -tags $(TAGS) -run '^(TestFirstHandshake|TestPathCut|TestHostileFeed|TestGrowth)$$' ./mesh/node/nodetest
	$(GO) test -pgo=off -tags $(TAGS) -run '^$$' -bench . -benchtime 1x ./... # so that they do not rot
	CGO_ENABLED=1 $(GO) test -race -pgo=off -tags $(TAGS) -timeout 14m ./...

.PHONY: soak
soak: tools ## tunnels over bad paths for SOAK (1h) at SOAK_RATE Mb/s (40), as root
	WIRESPAN_SOAK=$(SOAK) WIRESPAN_SOAK_RATE=$(SOAK_RATE) \
		$(GO) test -tags $(TAGS) -run '^TestSoak$$' -v -timeout 0 ./cmd/wirespan/e2e

.PHONY: systemd
systemd: tools ## the units under a real systemd, in namespaces on a copy of this machine's files, as root
	WIRESPAN_SYSTEMD=1 $(GO) test -tags $(TAGS) -run '^TestSystemd$$' -count 1 -v -timeout 5m ./cmd/wirespan/e2e

.PHONY: vrf
vrf: build ## nodes whose uplink is in a VRF, in an emulated guest with Debian's kernel (debootstrap, qemu), as root
	bash testdata/vrf/guest.sh bin/vrf bin/wirespan

# In EDGE_BINARY, % stands for the GOARCH.
EDGE_GUESTS ?= armv7 mipsle amd64
EDGE_BINARY ?= $(CURDIR)/bin/wirespan-linux-%
EDGE_RUN    ?= TestEdge

.PHONY: test-edge
test-edge: TOOLS += qemu-system-arm=qemu-system-arm qemu-system-mipsel=qemu-system-mips qemu-system-x86_64=qemu-system-x86 \
	mksquashfs=squashfs-tools cpio=cpio depmod=kmod mke2fs=e2fsprogs dnsmasq=dnsmasq-base
test-edge: build tools ## emulated edge boxes with Debian's kernels, of EDGE_GUESTS (armv7 mipsle amd64), as root; downloads 180 MB once
	test '$(origin EDGE_BINARY)' != file || $(MAKE) cross ARCHS="arm mipsle amd64"
	bash testdata/edge/images.sh bin/edge '$(EDGE_BINARY)' $(EDGE_GUESTS)
	WIRESPAN_EDGE=$(CURDIR)/bin/edge WIRESPAN_EDGE_FOUNDER=$(CURDIR)/bin/wirespan WIRESPAN_EDGE_GUESTS='$(EDGE_GUESTS)' \
		$(GO) test -tags $(TAGS) -run '^$(subst /,$$/^,$(EDGE_RUN))$$' -count 1 -v -parallel 2 -timeout 60m ./cmd/wirespan/e2e

# What takes few minutes.
EDGE_CI := TestEdge/(Join|NoNftables|StateInMemory|Clock1970)

.PHONY: test-edge-ci
test-edge-ci: ## scenarios of test-edge that take few minutes, with the edge build
	$(MAKE) edge-cross ARCHS="arm mipsle amd64"
	$(MAKE) test-edge EDGE_RUN='$(EDGE_CI)' EDGE_BINARY='$(CURDIR)/bin/wirespan-edge-linux-%'

# The versions are those of testdata/kubernetes. The first build takes minutes; Go's cache has it then.
bin/kubernetes/%: testdata/kubernetes/go.mod
	cd testdata/kubernetes && $(GO) build -trimpath -ldflags '-s -w' -o $(CURDIR)/$@ $(KUBERNETES_$*)
	touch $@

KUBERNETES_etcd           := go.etcd.io/etcd/server/v3
KUBERNETES_kube-apiserver := k8s.io/kubernetes/cmd/kube-apiserver
KUBERNETES_RUN            ?= TestKubernetes

.PHONY: test-kubernetes
test-kubernetes: tools bin/kubernetes/etcd bin/kubernetes/kube-apiserver ## agents and deploy/kubernetes with a real kube-apiserver, as root
	WIRESPAN_KUBERNETES=$(CURDIR)/bin/kubernetes \
		$(GO) test -tags $(TAGS) -run '^$(subst /,$$/^,$(KUBERNETES_RUN))$$' -count 1 -v -parallel 2 -timeout 20m ./cmd/wirespan/e2e

# What the tests run, as COMMAND=DEBIAN-PACKAGE.
TOOLS := gcc=gcc iperf3=iperf3 ip=iproute2 nft=nftables iptables-nft=iptables wg=wireguard-tools ping=iputils-ping curl=curl turnserver=coturn miniupnpd=miniupnpd-nftables setpriv=util-linux ethtool=ethtool systemd-analyze=systemd dbus-daemon=dbus-daemon

.PHONY: tools
tools:
	@missing=; for t in $(TOOLS); do command -v $${t%=*} >/dev/null || test -e $${t%=*} || missing="$$missing $${t#*=}"; done; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	else echo "the tests need these packages:$$missing" >&2; exit 1; fi

.PHONY: bench
bench: build ## the standard local matrix, under 10 minutes; as root with all subjects that are here
	./bin/wirespan bench local $$(test "$$(id -u)" = 0 || echo --unprivileged)

# What `make pgo` measures while it records.
PGO := --subjects wirespan-tun,wirespan-netstack --streams 1,4 --runs 1 --duration 5s --metrics tcp.up,tcp.down,udp

.PHONY: pgo
pgo: ## records how the data plane runs, as root; every build after that is optimized for it
	$(GO) build -trimpath -pgo=off -tags $(TAGS),profile $(GCFLAGS) -o bin/wirespan-profile ./cmd/wirespan
	rm -rf bin/profile && mkdir -p bin/profile
	WIRESPAN_CPUPROFILE=$(CURDIR)/bin/profile ./bin/wirespan-profile bench local $(PGO) >/dev/null
	$(GO) tool pprof -proto -output bin/default.pgo bin/wirespan-profile bin/profile/*.pprof
	mv bin/default.pgo cmd/wirespan/default.pgo
	rm -rf bin/profile bin/wirespan-profile

.PHONY: gobench
gobench: ## Go benchmarks of all packages
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ (10s)
	@$(GO) list -tags $(TAGS) ./... | while read -r pkg; do \
		for f in $$($(GO) test -tags $(TAGS) -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; \
			$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) -fuzzminimizetime 1x $$pkg || exit 1; \
		done; done

.PHONY: size
size: build edge ## fails if the binary has grown past 24 MiB, or that for edge boxes past 10.25 MiB
	@test $$(wc -c < bin/wirespan) -le 25165824 || { ls -l bin/wirespan; echo "bin/wirespan is larger than 24 MiB" >&2; exit 1; }
	@test $$(wc -c < bin/wirespan-edge) -le 10747904 || { ls -l bin/wirespan-edge; echo "bin/wirespan-edge is larger than 10.25 MiB" >&2; exit 1; }

# What each target of ARCHS is for Go, unless that is GOARCH alone.
ARCHS ?= amd64 arm64 arm armv6 armv5 riscv64 386 386-softfloat mipsle mips mips64le mips64
TARGET_arm           := GOARCH=arm GOARM=7
TARGET_armv6         := GOARCH=arm GOARM=6
TARGET_armv5         := GOARCH=arm GOARM=5
TARGET_386-softfloat := GOARCH=386 GO386=softfloat
TARGET_mipsle        := GOARCH=mipsle GOMIPS=softfloat
TARGET_mips          := GOARCH=mips GOMIPS=softfloat
TARGET_mips64le      := GOARCH=mips64le GOMIPS64=softfloat
TARGET_mips64        := GOARCH=mips64 GOMIPS64=softfloat

.PHONY: cross
cross: $(ARCHS:%=bin/wirespan-linux-%) ## builds for every supported architecture, or those of ARCHS

.PHONY: edge-cross
edge-cross: $(ARCHS:%=bin/wirespan-edge-linux-%) ## the edge build for these

.PHONY: cross-test
cross-test: TOOLS += qemu-arm-static=qemu-user-static
cross-test: tools cross ## what make cross builds joins a mesh under emulation, as root
	WIRESPAN_CROSS=$(CURDIR)/bin WIRESPAN_CROSS_ARCHS='$(ARCHS)' \
		$(GO) test -tags $(TAGS) -run '^TestCross$$' -count 1 -v -timeout 20m ./cmd/wirespan/e2e

bin/wirespan-linux-%: FORCE
	GOOS=linux $(or $(TARGET_$*),GOARCH=$*) $(BUILD) -o $@ ./cmd/wirespan

bin/wirespan-edge-linux-%: FORCE
	GOOS=linux $(or $(TARGET_$*),GOARCH=$*) $(BUILD_EDGE) -o $@ ./cmd/wirespan

.PHONY: FORCE
FORCE:

IMAGE        ?= wirespan:latest
CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt

empty :=
space := $(empty) $(empty)
comma := ,

.PHONY: image
image: cross ## a container image IMAGE (wirespan:latest) in bin/image: an OCI layout, and tars for docker load
	cd deploy/container/image && $(GO) run . -binaries $(CURDIR)/bin -out $(CURDIR)/bin/image -tag $(IMAGE) \
		-archs $(subst $(space),$(comma),$(strip $(ARCHS))) -certificates $(CERTIFICATES) -created $(SOURCE_DATE_EPOCH) \
		-version "$$(git describe --tags --always --dirty 2>/dev/null)" -revision "$$(git rev-parse HEAD 2>/dev/null)"

.PHONY: container-test
container-test: TOOLS += runc=runc umoci=umoci qemu-arm-static=qemu-user-static ssh=openssh-client \
	/usr/sbin/sshd=openssh-server dig=bind9-dnsutils node=nodejs chromium=chromium /usr/bin/python3=python3 \
	/usr/lib/python3/dist-packages/requests/__init__.py=python3-requests /usr/lib/python3/dist-packages/socks.py=python3-socks
container-test: tools ## the image with runc, without privileges, for arm64 and armv7 under emulation, as root
	$(MAKE) image IMAGE=wirespan:latest ARCHS="amd64 arm64 arm"
	WIRESPAN_IMAGE=$(CURDIR)/bin/image/oci $(GO) test -tags $(TAGS) -run '^TestContainer$$' -count 1 -v -timeout 5m ./cmd/wirespan/e2e

# The tools are pinned in a module of their own, so that their requirements never reach a
# user's build. The first call builds them, which takes minutes; then Go's cache has them.
GOTOOL := $(GO) tool -modfile=$(CURDIR)/testdata/tools/go.mod

# Code that the program cannot reach is dead, even where a test calls it: the test alone
# would keep it. So the first deadcode runs without -test. It sees only the packages that
# the program imports. The second, with -test, finds what neither the program nor a test
# calls in all the others, and in the tests themselves.
# KEPT lists the exceptions: Token.Format hides a join token from code that would print it;
# Node.Agent, node.Start and config.New are for programs that embed a node.
KEPT := unreachable func: \(Token.Format\|Node.Agent\|Node.ready\|published\)$$\|^mesh/node/start.go:.* Start$$\|^mesh/config/load.go:.* New$$

.PHONY: lint
lint: ## golangci-lint, tidiness of the go.mod files, dead code
	$(GOTOOL) golangci-lint run ./... ./testdata/edge/...
	cd testdata/interop && $(GOTOOL) golangci-lint run --config $(CURDIR)/.golangci.yml
	cd deploy/container/image && $(GOTOOL) golangci-lint run --config $(CURDIR)/.golangci.yml
	@for m in . testdata/interop testdata/kubernetes testdata/tools deploy/container/image; do (cd $$m && $(GO) mod tidy -diff) || exit 1; done
	@dead=$$($(GOTOOL) deadcode -tags $(TAGS) ./cmd/wirespan && $(GOTOOL) deadcode -test -tags $(TAGS) ./...) || exit 1; \
	! echo "$$dead" | grep -v -e '^$$' -e '$(KEPT)' >&2

.PHONY: clean
clean:
	rm -rf bin
