#!/bin/sh
# README's two commands, and between them those of EMBEDDING.md's first page, on a clean Debian 12:
#
#   tests/clean_root.sh FOLDER         as root, by hand
#
# Makes a minimal root in FOLDER with debootstrap (or uses the one that is there), clones the last commit into it and runs ./bootstrap
# train, tests/embed/stranger.sh and ./bootstrap test inside.  The root gets this machine's apt sources and name resolution, a /proc of
# its own, and nothing else; commit, times and results go to clean_root.log beside this script.
set -eu
folder=${1:?a folder for the root}
here=$(cd "$(dirname "$0")" && pwd)
log=$here/clean_root.log

mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Identifier: Packages' | sed -n 's/^bookworm //p' | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no mirror of Debian 12 here" >&2; exit 1; }
if ! [ -f "$folder/etc/debian_version" ]; then
	debootstrap --variant=minbase --include=ca-certificates bookworm "$folder" "$mirror"
fi
for part in sources.list sources.list.d apt.conf.d auth.conf.d keyrings; do
	if [ -e "/etc/apt/$part" ]; then
		rm -rf "$folder/etc/apt/$part"
		cp -r "/etc/apt/$part" "$folder/etc/apt/$part"
	fi
done
cp /etc/resolv.conf /etc/hosts "$folder/etc/"
rm -rf "$folder/root/nnc"
git clone -q --no-hardlinks "$here/.." "$folder/root/nnc"

# inside COMMAND: in the root, with an empty environment
inside() {
	env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		unshare --mount --pid --fork sh -c "mount -t proc proc '$folder/proc' && exec chroot '$folder' sh -c '$1'"
}

{
	echo "commit $(git -C "$here" rev-parse --short HEAD), Debian $(cat "$folder/etc/debian_version"), $(nproc) processors"
	echo "packages before: $(inside 'dpkg-query -f "\${Package}\n" -W' | wc -l)"
} | tee "$log"
for job in "./bootstrap train" "tests/embed/stranger.sh build ." "./bootstrap test"; do
	began=$(date +%s)
	code=0
	inside "cd /root/nnc && $job" >"$folder/job.log" 2>&1 || code=$?
	{
		echo "$job: exit code $code after $(($(date +%s) - began)) s; its last lines:"
		tail -n 15 "$folder/job.log" | sed 's/^/    /'
	} | tee -a "$log"
	[ $code = 0 ] || exit 1
done
