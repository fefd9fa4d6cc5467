"""Seeds one torrent from several libtorrent sessions.

usage: seeder.py TORRENT DIRECTORY HOST:PORT...

Says "ready" when every session seeds; when its input ends, says how many bytes
of content they sent in all, and ends.
"""
import os
import sys
import time

import libtorrent as lt

SETTINGS = {
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_incoming_utp': False, 'enable_outgoing_utp': False,
    'alert_mask': 0, 'connections_limit': 1000, 'unchoke_slots_limit': 100,
    'allow_multiple_connections_per_ip': True, 'max_allowed_in_request_queue': 4000,
    'send_buffer_watermark': 4 << 20, 'send_buffer_low_watermark': 1 << 20, 'aio_threads': 2,
}

torrent, directory, addresses = sys.argv[1], sys.argv[2], sys.argv[3:]
sessions, handles = [], []
for address in addresses:
    session = lt.session(dict(SETTINGS, listen_interfaces=address))
    handle = session.add_torrent({'ti': lt.torrent_info(torrent), 'save_path': directory,
                                  'trackers': [], 'flags': lt.torrent_flags.seed_mode})
    handle.replace_trackers([])
    sessions.append(session)
    handles.append(handle)
while not all(h.status().is_seeding for h in handles):
    time.sleep(0.02)
print('ready', flush=True)
sys.stdin.read()
print(sum(h.status().total_payload_upload for h in handles), flush=True)
os._exit(0)  # a session takes its time to say goodbye
