"""A BitTorrent client made of python3-libtorrent, driven by the tests.

  libtorrent_client.py run TORRENT DIR HOST:PORT
      Downloads TORRENT, a file or a magnet link, to DIR, or seeds it from there, at that
      address. Prints a
      line for each change: "state STATE DONE" (DONE in bytes). Runs until killed.
      With ENCRYPTION=required in its environment all connections are encrypted, with
      ENCRYPTION=off none. With LSD=1 it finds peers on the local network, with
      DHT=HOST:PORT,... in a DHT with those nodes. It uploads UPLOAD bytes a second at most.
      With WANT=1,0,... it downloads only some of the files. With PEERS=HOST:PORT,... it
      connects to these, and prints a line for each change of what it knows of one: "peer
      HOST:PORT wants|uploads PIECES", that is whether it wants anything, and a 0 or 1 for
      each piece. It leaves it to the others to close connections of no use to either side.

  libtorrent_client.py nodes HOST:PORT...
      Is a DHT with a node at each of these addresses. Prints "listening" when it is
      there.

  libtorrent_client.py create PATH OUT v1|v2|hybrid [TRACKER]
      Makes a torrent of a file or directory, with pieces of 64 KiB.
"""
import os
import sys
import time

import libtorrent as lt


def dht(bootstrap):
    # Loopback addresses are all on one network, and no id fits them.
    return {
        'enable_dht': True, 'dht_bootstrap_nodes': bootstrap, 'dht_announce_interval': 5,
        'dht_restrict_routing_ips': False, 'dht_restrict_search_ips': False,
        'dht_enforce_node_id': False, 'dht_prefer_verified_node_ids': False,
        'dht_ignore_dark_internet': False, 'dht_max_fail_count': 100,
    }


def nodes(first, *others):
    sessions = [lt.session(dict(dht('' if addr == first else first), **{
        'listen_interfaces': addr, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    })) for addr in (first, *others)]
    while not all(s.is_listening() for s in sessions):
        time.sleep(0.05)
    print('listening', flush=True)
    time.sleep(1000)


def run(torrent, directory, listen):
    encryption = {'required': 0, 'off': 2}.get(os.environ.get('ENCRYPTION'), 1)
    bootstrap = os.environ.get('DHT')
    session = lt.session({
        **(dht(bootstrap) if bootstrap else {'enable_dht': False}),
        'listen_interfaces': listen, 'allow_multiple_connections_per_ip': True,
        'enable_lsd': bool(os.environ.get('LSD')), 'enable_upnp': False, 'enable_natpmp': False,
        'enable_incoming_utp': False, 'enable_outgoing_utp': False,
        'out_enc_policy': encryption, 'in_enc_policy': encryption,
        'allowed_enc_level': 3 if encryption == 1 else 2,  # both, or RC4 only
        'min_reconnect_time': 1, 'peer_connect_timeout': 5, 'alert_mask': 0,
    })
    params = lt.parse_magnet_uri(torrent) if torrent.startswith('magnet:') else lt.add_torrent_params()
    if not torrent.startswith('magnet:'):
        params.ti = lt.torrent_info(torrent)
    params.save_path = directory
    if want := os.environ.get('WANT'):
        params.file_priorities = [int(x) for x in want.split(',')]
    handle = session.add_torrent(params)
    # The session's limit is not for the local network, this one is.
    handle.set_upload_limit(int(os.environ.get('UPLOAD') or 0))
    peers = [p for p in os.environ.get('PEERS', '').split(',') if p]
    for host, port in (p.rsplit(':', 1) for p in peers):
        handle.connect_peer((host, int(port)))
    last = {}
    while True:
        s = handle.status()
        if peers and s.is_finished:  # it has told so
            session.apply_settings({'close_redundant_connections': False})
        now = {'state': f'{s.state} {s.total_wanted_done}'}
        for p in handle.get_peer_info() if peers else ():
            pieces = ''.join('01'[has] for has in p.pieces)
            now['peer %s:%d' % p.ip] = f'{"uploads" if p.flags & p.upload_only else "wants"} {pieces}'
        for what, how in now.items():
            if last.get(what) != how:
                print(what, how, flush=True)
        last = now
        if s.errc.value():
            sys.exit(s.errc.message())
        time.sleep(0.05)


def create(path, out, version, tracker=None):
    storage = lt.file_storage()
    lt.add_files(storage, path)
    flags = {'v1': lt.create_torrent.v1_only, 'v2': lt.create_torrent.v2_only, 'hybrid': 0}[version]
    torrent = lt.create_torrent(storage, piece_size=64 << 10, flags=flags)
    if tracker:
        torrent.add_tracker(tracker)
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(path)))
    with open(out, 'wb') as f:
        f.write(lt.bencode(torrent.generate()))


{'run': run, 'nodes': nodes, 'create': create}[sys.argv[1]](*sys.argv[2:])
