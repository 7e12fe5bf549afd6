# The doors of Tributary, for people. What they open is Meson's: every line below can be said by hand.
# A door asks tools/packages.sh for the packages it needs, configures what is not configured, and
# leaves the rest to ninja, so a second call does nothing twice.

RELEASE = build/release
OPTIONS = # of Meson, for example -Dwerror=true; heeded when the release is configured
FUZZ_SECONDS = 60
SOAK_SECONDS = 600

# Meson guesses lib64 on a Debian without dpkg-dev, where neither ldconfig nor pkg-config look.
SETUP = meson setup $(RELEASE) --libdir=lib $(OPTIONS)

# What the demo runs. It has more threads than some machines have cores: they are to sleep while they
# wait for each other.
MODEL = models/shakespeare.gguf
DEMO = OMP_WAIT_POLICY=passive $(RELEASE)/app/cli/trib demo '$(MODEL)'

help: ## list the doors (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(RELEASE)/build.ninja ## build a release, let a model speak and prove that its bits stay (MODEL=file.gguf)
	ninja -C $(RELEASE)
	$(DEMO)

check: $(RELEASE)/with-tests ## build a release and run every test and check
	tests/run.sh $(RELEASE)

install: $(RELEASE)/build.ninja ## install program, library and headers (PREFIX=/usr/local, DESTDIR=)
	$(if $(PREFIX),meson configure $(RELEASE) -Dprefix='$(PREFIX)')
	ninja -C $(RELEASE)
	meson install -C $(RELEASE) --no-rebuild

fuzz: build/fuzz/build.ninja ## run every fuzz target for a while (FUZZ_SECONDS=60 each)
	tests/fuzz/run.sh $(FUZZ_SECONDS) build/fuzz

soak: $(RELEASE)/build.ninja ## answer requests in one process for a while; is its memory flat (SOAK_SECONDS=600)
	ninja -C $(RELEASE)
	tests/soak.sh $(RELEASE)/app/cli/trib $(SOAK_SECONDS)

format: check-packages ## bring the C source into the project's format
	find $(wildcard include src app bench examples tests) -name '*.[ch]' -exec clang-format -i {} +

clean: ## remove everything that was built
	rm -rf build

$(RELEASE)/build.ninja: | build-packages
	$(SETUP) -Dtests=false

# The demo needs no test packages, so the tests are switched on by the first check.
$(RELEASE)/with-tests: | check-packages
	$(SETUP) -Dtests=true $(if $(wildcard $(RELEASE)/build.ninja),--reconfigure)
	touch $@

build/fuzz/build.ninja: | check-packages
	CC=clang meson setup build/fuzz -Dfuzz=true -Dtests=false

build-packages:
	@tools/packages.sh build

check-packages:
	@tools/packages.sh build check

.PHONY: help demo check install fuzz soak format clean build-packages check-packages
