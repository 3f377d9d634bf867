#!/usr/bin/env bash
# Puts the detectors that the tests run, and that this machine does not have, into .local/programs: unpacked,
# not installed, so that no service is started and nothing else on the machine changes.
set -uo pipefail
cd "$(dirname "$0")/../../.."
programs=$PWD/.local/programs
mkdir -p "$programs/packages"

# Each package by the program that tells whether it is there.
declare -A packages=(
  [fail2ban-server]=fail2ban
  [crowdsec]=crowdsec
  [prometheus-alertmanager]=prometheus-alertmanager
  [sshguard]=sshguard
)

has() { PATH="$PATH:/usr/sbin:$programs/usr/bin:$programs/usr/sbin" command -v "$1" >/dev/null; }

unpack() {
  local package=$1
  (
    cd "$programs/packages" &&
      rm -f "${package}"_*.deb &&
      timeout 120 apt-get download --quiet=2 "$package" 2>/dev/null &&
      dpkg --extract "${package}"_*.deb "$programs"
  )
}

missing=()
for program in "${!packages[@]}"; do has "$program" || missing+=("${packages[$program]}"); done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null; then
  # New machines know of no packages before.
  apt-cache show "${missing[@]}" >/dev/null 2>&1 || timeout 120 apt-get update --quiet=2 || true
  for package in "${missing[@]}"; do unpack "$package" || true; done
fi

# Debian's Alertmanager looks for its own templates there and nowhere else.
for template in usr/share/prometheus/alertmanager/{default,email}.tmpl; do
  if [ -f "$programs/$template" ] && [ ! -e "/$template" ]; then
    install -D -m 644 "$programs/$template" "/$template" 2>/dev/null ||
      echo "MISSING: /$template; Alertmanager's tests are skipped."
  fi
done

for program in "${!packages[@]}"; do
  has "$program" || echo "MISSING: $program; its tests are skipped (Debian: apt-get install ${packages[$program]})."
done
exit 0
