# make demo      run a real test VM on this machine, from creation to removal
# make test      set up and run all tests that this machine can run
# make lint      check formatting, rules and types: ruff format, ruff check, mypy
# make coverage  measure the lines and branches that the tests without real servers reach
# make bench     measure what a check costs, as ratios, and write tests/bench/RESULTS.md
# make rpm       build the packages from the last commit, in build/rpm/RPMS (rpm/README.md)
# make wheel     build a wheel and a source distribution, in dist/
# make release   check that version, changelog, spec and tag agree
# Each of them does the set-up that it needs. It changes only .venv/, the distribution's packages and the user's cache.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := sh tests/install-packages

# Two at a time on every machine: the tests mostly wait for servers, which need processors, too.
PARALLEL := --numprocesses 2 --dist loadscope --no-loadscope-reorder

EXAMPLES := qemu-system-x86 busybox-static libvirt-daemon python3-libvirt

.PHONY: setup demo lint test test-long test-live coverage bench setup-test rpm wheel release clean

# What the example sites need: a virtual environment, QEMU, libvirt with its Python binding, and the test image.
setup: $(VENV)/.done
	@$(INSTALL) $(EXAMPLES) || true
	@$(PY) tests/link_libvirt.py
	@$(PY) probes/vmprobectl image build >/dev/null || true

$(VENV)/.done: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV) || { $(INSTALL) python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[qemu,config,x509]'
	touch $@

demo: setup
	@$(PY) probes/vmprobectl demo

setup-test: setup $(VENV)/.test
	@$(INSTALL) $$(grep -v '^#' tests/packages.txt) || true

$(VENV)/.test: setup.cfg $(VENV)/.done
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[qemu,config,x509,test]'
	touch $@

$(VENV)/.lint: setup.cfg $(VENV)/.done
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[qemu,config,x509,lint]'
	touch $@

lint: $(VENV)/.lint
	$(PY) -m ruff format --check --quiet
	$(PY) -m ruff check --quiet
	$(PY) -m mypy

test: lint setup-test
	$(PY) -m pytest $(PARALLEL) -m 'not slow' $(TESTS)

test-long: setup-test
	$(PY) -m pytest $(PARALLEL) $(TESTS)

test-live: setup-test
	$(PY) -m pytest $(PARALLEL) -m live $(TESTS)

# Lists unreached lines of the drivers and the lease, because a user's resources depend on every line of these.
# A measured process writes one more file, so tests of full disks fail here: only the figures count.
coverage: setup-test
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[coverage]'
	rm -f .coverage .coverage.*
	-$(PY) -m pytest $(PARALLEL) -m 'not live and not slow and not packaging' --quiet --cov --cov-report= $(TESTS)
	$(PY) -m coverage report --skip-covered --show-missing --include='*/vmprobe/drivers/*,*/vmprobe/lease/*'
	$(PY) -m coverage report --format=total | sed 's/.*/all of the package: & % of lines and branches/'

bench: setup-test
	$(PY) tests/bench/bench.py

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' probes/vmprobe/__init__.py)
SOURCES := build/rpm/SOURCES/vmprobe-$(VERSION).tar.gz

rpm:
	rm -rf build/rpm && mkdir -p $(dir $(SOURCES))
	umask 022; git archive --format=tar.gz --prefix=vmprobe-$(VERSION)/ -o $(SOURCES) HEAD
	umask 022; for what in -tb -ts; do \
	    rpmbuild $$what --define "_topdir $(CURDIR)/build/rpm" --define "_buildhost localhost" $(RPMFLAGS) $(SOURCES) || exit; done

wheel: setup
	$(PY) -m pip install --quiet --disable-pip-version-check build
	$(PY) -m build --outdir dist .

release:
	$(PYTHON) rpm/release.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis
