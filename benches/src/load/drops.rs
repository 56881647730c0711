// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets that the kernel dropped in the calling thread's network namespace, outside the gateway.

use std::{fs, io};

/// Packets for UDP sockets that were full: when they are ours, the generator lost them.
pub fn socket_drops_here() -> io::Result<u64> {
    Ok(socket_drops(&table("udp")?) + socket_drops(&table("udp6")?))
}

/// Packets that a NIC could not hand to its link, because the other end of a veth was full.
pub fn link_drops_here() -> io::Result<u64> {
    Ok(transmit_drops(&table("dev")?))
}

/// A file of proc_net(5).
fn table(name: &str) -> io::Result<String> {
    // Not /proc/net, which is that of the process's first thread.
    fs::read_to_string(format!("/proc/thread-self/net/{name}"))
}

/// Sums the last column of a table with one line of headings.
fn socket_drops(table: &str) -> u64 {
    let drops = |line: &str| line.split_whitespace().last()?.parse::<u64>().ok();
    table.lines().skip(1).filter_map(drops).sum()
}

/// Sums the fourth of the transmit columns behind the eight receive columns.
fn transmit_drops(table: &str) -> u64 {
    let drops = |line: &str| {
        line.split_once(':')?
            .1
            .split_whitespace()
            .nth(11)?
            .parse::<u64>()
            .ok()
    };
    table.lines().filter_map(drops).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_in_the_kernels_tables() {
        let udp = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 7361: 0100007F:4E20 0200007F:4E20 01 00000000:00000000 00:00000000 00000000     0        0 19003 2 000000003b0b4e7a 17
 7363: 00000000:4E22 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 19004 2 00000000b37e1f2d 3
";
        assert_eq!(socket_drops(udp), 20);
        let dev = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0: 2716398   10236    0    1    0     0          0         0  2716398   10236    0   42    0     0       0          0
";
        assert_eq!(transmit_drops(dev), 42);
    }
}
