#!/usr/bin/env bash
# Puts the detectors that the tests run, and that this machine does not have, into .local/programs: unpacked,
# not installed, so that no service is started and nothing else on the machine changes.
set -uo pipefail
cd "$(dirname "$0")/../../.."
programs=$PWD/.local/programs
mkdir -p "$programs/packages"

has() {
  PATH="$PATH:/usr/sbin:$programs/usr/bin:$programs/usr/sbin:$programs/venv/bin" command -v "$1" >/dev/null
}

# Debian's packages, each by the program that tells whether it is there.
declare -A packages=(
  [fail2ban-server]=fail2ban
  [crowdsec]=crowdsec
  [prometheus-alertmanager]=prometheus-alertmanager
  [sshguard]=sshguard
)

get_debian() {
  local missing=() program package template
  for program in "${!packages[@]}"; do has "$program" || missing+=("${packages[$program]}"); done
  if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null; then
    # New machines know of no packages before.
    apt-cache show "${missing[@]}" >/dev/null 2>&1 || timeout 120 apt-get update --quiet=2
    for package in "${missing[@]}"; do unpack "$package"; done
  fi
  # Alertmanager looks for its own templates there and nowhere else.
  for template in usr/share/prometheus/alertmanager/{default,email}.tmpl; do
    if [ -f "$programs/$template" ] && [ ! -e "/$template" ]; then
      install -D -m 644 "$programs/$template" "/$template" 2>/dev/null
    fi
  done
  for program in "${!packages[@]}"; do
    has "$program" || echo "MISSING: $program; its tests are skipped (Debian: apt-get install ${packages[$program]})."
  done
}

unpack() (
  cd "$programs/packages" &&
    rm -f "$1"_*.deb &&
    timeout 120 apt-get download --quiet=2 "$1" 2>/dev/null &&
    dpkg --extract "$1"_*.deb "$programs"
)

# Its package does not name all that it imports.
get_elastalert() {
  has elastalert || {
    python3 -m venv "$programs/venv" &&
      timeout 300 "$programs/venv/bin/pip" install --quiet "elastalert2>=2.19,<3" pytz setuptools
  } || echo "MISSING: elastalert; its tests are skipped (python3 -m venv and pip are needed)."
}

# What ElastAlert asks.
get_opensearch() {
  [ -d "$programs/opensearch" ] || {
    timeout 300 mvn --quiet --batch-mode -Dstyle.color=never --file test/e2e/detectors/opensearch/pom.xml \
      org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
      -DoutputDirectory="$programs/opensearch.new" &&
      mv "$programs/opensearch.new" "$programs/opensearch"
  } || echo "MISSING: OpenSearch; ElastAlert's tests are skipped (mvn and Java 17 are needed)."
}

get_debian &
get_elastalert &
get_opensearch &
wait
