#!/usr/bin/env bash
# Runs once, when the machine boots for the first time: docker, the volume for the state, the units.
set -euo pipefail

read_configuration() { python3 -c 'import json, sys; print(json.load(open("/etc/sentigate/instance.json"))[sys.argv[1]])' "$1"; }

region=$(read_configuration region)
volume=$(read_configuration volume)
device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volume/-/}

until dnf install --assumeyes --quiet docker; do sleep 10; done
systemctl enable --now docker

# The database's certificate is signed by an authority of RDS, which no system trusts by itself.
until curl --fail --silent --show-error --proto =https --output /etc/sentigate/rds.pem \
  "https://truststore.pki.rds.amazonaws.com/$region/$region-bundle.pem"; do sleep 10; done

# Terraform attaches the volume once the machine runs.
until [ -e "$device" ]; do sleep 2; done
udevadm settle
[ "$(lsblk --noheadings --output FSTYPE "$device")" ] || mkfs.xfs -q "$device"
mkdir -p /var/lib/sentigate
echo "$device /var/lib/sentigate xfs nodev,nosuid,noexec,nofail 0 2" >>/etc/fstab
systemctl daemon-reload
mount /var/lib/sentigate
chown 1034:1034 /var/lib/sentigate
chmod 0700 /var/lib/sentigate

systemctl enable --now sentigate.service sentigate-sync.timer
