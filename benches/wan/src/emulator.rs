//! One thread that carries packets between devices as the model says.

use crate::{
    Error,
    model::{Counts, Path, Wan},
    namespaces,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{ErrorKind, Read, Write},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tun_rs::SyncDevice;

/// Longest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// Packets that are taken from one device before the others have their turn.
const BATCH: usize = 64;

/// What the thread is told.
enum Command {
    Set(usize, usize, Path),
    Get(usize, usize, mpsc::Sender<Option<Path>>),
    Counts(mpsc::Sender<Counts>),
    End,
}

/// The running thread. Dropped: it ends.
#[derive(Debug)]
pub(crate) struct Emulator {
    commands: mpsc::Sender<Command>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts to carry packets between devices; the device with number N is node N.
    pub(crate) fn start(wan: Wan<Vec<u8>>, devices: Vec<SyncDevice>) -> Result<Self, Error> {
        let socket = || Error::io("a socket to wake the network with");
        let (waker, woken) = UnixStream::pair().map_err(socket())?;
        woken.set_nonblocking(true).map_err(socket())?;
        waker.set_nonblocking(true).map_err(socket())?;
        let (commands, inbox) = mpsc::channel();
        let carrier = Carrier {
            wan,
            devices,
            woken,
            inbox,
            started: Instant::now(),
            buffer: vec![0; PACKET_BYTES_MAX],
        };
        let thread = std::thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || carrier.run())
            .map_err(Error::io("the network's thread"))?;
        Ok(Self {
            commands,
            waker,
            thread: Some(thread),
        })
    }

    /// Changes a way; it holds for every packet that comes after this returns.
    pub(crate) fn set(&self, from: usize, to: usize, path: Path) -> Result<(), Error> {
        self.tell(Command::Set(from, to, path))?;
        // An answer to a later question means that the order was carried out.
        self.counts().map(drop)
    }

    /// How a way is.
    pub(crate) fn path(&self, from: usize, to: usize) -> Result<Option<Path>, Error> {
        let (answer, outcome) = mpsc::channel();
        self.tell(Command::Get(from, to, answer))?;
        outcome.recv().map_err(|_| Error::Ended)
    }

    /// Packets so far.
    pub(crate) fn counts(&self) -> Result<Counts, Error> {
        let (answer, outcome) = mpsc::channel();
        self.tell(Command::Counts(answer))?;
        outcome.recv().map_err(|_| Error::Ended)
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| Error::Ended)?;
        // A full socket wakes as well.
        let _ = (&self.waker).write(&[1]);
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.tell(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Carrier {
    wan: Wan<Vec<u8>>,
    devices: Vec<SyncDevice>,
    woken: UnixStream,
    inbox: mpsc::Receiver<Command>,
    started: Instant,
    buffer: Vec<u8>,
}

impl Carrier {
    fn run(mut self) {
        loop {
            if self.wait().is_err() || !self.obey() {
                return;
            }
            for node in 0..self.devices.len() {
                self.receive(node);
            }
            self.deliver();
        }
    }

    /// Until something comes, a packet is due, or somebody has an order.
    fn wait(&self) -> rustix::io::Result<()> {
        let now = self.started.elapsed();
        let pause = self.wan.next_due().map(|due| due.saturating_sub(now));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        let mut sources = vec![PollFd::new(&self.woken, PollFlags::IN)];
        sources.extend(
            self.devices
                .iter()
                .map(|device| PollFd::new(device, PollFlags::IN)),
        );
        match poll(&mut sources, pause.as_ref()) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Carries out what was ordered; false: the end.
    fn obey(&mut self) -> bool {
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(1..)) {}
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Set(from, to, path)) => self.wan.set(from, to, path),
                Ok(Command::Get(from, to, answer)) => {
                    let _ = answer.send(self.wan.path(from, to).copied());
                }
                Ok(Command::Counts(answer)) => {
                    let _ = answer.send(self.wan.counts());
                }
                Ok(Command::End) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    fn receive(&mut self, from: usize) {
        for _ in 0..BATCH {
            let Some(device) = self.devices.get(from) else {
                return;
            };
            // Nothing there, or a device that its namespace has lost: either way the others go on.
            let Ok(length) = device.recv(&mut self.buffer) else {
                return;
            };
            let packet = self.buffer.get(..length).unwrap_or_default();
            if let Some(to) = destination(packet) {
                let bytes = u64::try_from(length).unwrap_or(u64::MAX);
                let now = self.started.elapsed();
                self.wan.offer(from, to, packet.to_vec(), bytes, now);
            }
        }
    }

    fn deliver(&mut self) {
        let now: Duration = self.started.elapsed();
        while let Some(delivery) = self.wan.take(now) {
            if let Some(device) = self.devices.get(delivery.to) {
                match device.send(&delivery.packet) {
                    // A device that is off or full loses it, as a network would.
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => {}
                }
            }
        }
    }
}

/// The node that an IPv4 packet is for (RFC 791 §3.1: version in the first four bits, destination in bytes 16 to 19).
fn destination(packet: &[u8]) -> Option<usize> {
    let version = packet.first()? >> 4;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    namespaces::node_of(Ipv4Addr::from(address)).filter(|_| version == 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn where_packets_go() {
        let packet = |first: u8, address: [u8; 4]| {
            let mut packet = vec![0; 40];
            packet[0] = first;
            packet[16..20].copy_from_slice(&address);
            packet
        };
        for (packet, expected) in [
            (packet(0x45, [10, 77, 0, 1]), Some(0)),
            (packet(0x45, [10, 77, 0, 3]), Some(2)),
            (packet(0x60, [10, 77, 0, 3]), None),
            (packet(0x45, [10, 78, 0, 3]), None),
            (vec![0x45; 19], None),
            (Vec::new(), None),
        ] {
            assert_eq!(destination(&packet), expected, "{packet:?}");
        }
    }
}
