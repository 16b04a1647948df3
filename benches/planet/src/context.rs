//! What every node of a run shares: time, chance, the network, and the observer who writes the history.

use crate::{
    figures::Figures,
    history::Event,
    messages::{Message, Reply},
    mutation::Mutation,
    network::{Network, Stream},
    pages::{Names, Page},
    random::Random,
    scenario::Scenario,
};
use std::{cmp::Ordering, collections::BinaryHeap};

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The shared store of records and logs.
    Store,
    /// A core.
    Core(usize),
    /// A PoP.
    Pop(usize),
}

/// What is to happen.
#[derive(Debug)]
pub enum Next {
    /// A message arrives.
    Deliver {
        /// From.
        from: Node,
        /// To.
        to: Node,
        /// What.
        message: Message,
    },
    /// A node's regular work.
    Tick {
        /// Whose.
        node: Node,
        /// Of which process: others ignore it.
        run: u32,
    },
    /// A PoP's request to a core takes too long.
    Late {
        /// Whose.
        pop: usize,
        /// Of which process.
        run: u32,
        /// Which request.
        id: u64,
    },
    /// A shield has let another PoP wait for long enough.
    Overdue {
        /// Which shield.
        pop: usize,
        /// Which process.
        run: u32,
    },
    /// A client does something.
    Act {
        /// Which.
        client: usize,
    },
    /// What a client sent arrives at its PoP.
    Arrive {
        /// Which client.
        client: usize,
        /// Which PoP.
        pop: usize,
    },
    /// An answer arrives at its client.
    Reply {
        /// Which client.
        client: usize,
        /// What.
        reply: Reply,
    },
    /// Something goes wrong.
    Fault,
    /// A node's process ends, and begins again after a while.
    Crash {
        /// Which.
        node: Node,
    },
    /// A node begins again.
    Restart {
        /// Which.
        node: Node,
    },
    /// By now every PoP knows of a purge, or calls nothing fresh.
    Audit {
        /// Which.
        purge: u64,
    },
}

#[derive(Debug)]
struct Scheduled {
    at_us: u64,
    number: u64,
    next: Next,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The heap gives the greatest first: the earliest, and of several the one that was scheduled first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.number).cmp(&(self.at_us, self.number))
    }
}

/// What nodes share.
#[derive(Debug)]
pub struct Context {
    /// Now.
    pub now_us: u64,
    /// Chance.
    pub random: Random,
    /// Paths.
    pub network: Network,
    /// What the observer saw.
    pub history: Vec<Event>,
    /// What was measured.
    pub figures: Figures,
    /// What the run is like.
    pub scenario: Scenario,
    /// What is left out.
    pub mutation: Option<Mutation>,
    /// What clients can ask for.
    pub pages: Vec<Page>,
    /// Names of records.
    pub names: Names,
    queue: BinaryHeap<Scheduled>,
    count: u64,
}

impl Context {
    /// At the beginning.
    #[must_use]
    pub fn new(
        scenario: Scenario,
        mutation: Option<Mutation>,
        names: Names,
        network: Network,
    ) -> Self {
        let mut random = Random::new(scenario.seed);
        let pages = names.pages(&scenario, &mut random);
        Self {
            now_us: 0,
            random,
            network,
            history: Vec::new(),
            figures: Figures::default(),
            scenario,
            mutation,
            pages,
            names,
            queue: BinaryHeap::new(),
            count: 0,
        }
    }

    /// Whether a part is left out.
    #[must_use]
    pub fn lacks(&self, part: Mutation) -> bool {
        self.mutation == Some(part)
    }

    /// Lets something happen after a while.
    pub fn after(&mut self, delay_us: u64, next: Next) {
        self.count += 1;
        self.queue.push(Scheduled {
            at_us: self.now_us + delay_us,
            number: self.count,
            next,
        });
    }

    /// The next thing that happens up to `until_us`; moves time to it.
    pub fn next(&mut self, until_us: u64) -> Option<Next> {
        if self.queue.peek()?.at_us > until_us {
            return None;
        }
        let scheduled = self.queue.pop()?;
        self.now_us = scheduled.at_us;
        Some(scheduled.next)
    }

    /// A node's place in the network.
    #[must_use]
    pub fn address(&self, node: Node) -> usize {
        match node {
            Node::Store => 0,
            Node::Core(core) => core + 1,
            Node::Pop(pop) => pop + 1 + self.scenario.cores,
        }
    }

    /// The one-way delay between two nodes, in microseconds.
    #[must_use]
    pub fn delay_us(&self, from: Node, to: Node) -> u64 {
        match (from, to) {
            (Node::Store, _) | (_, Node::Store) => self.scenario.store_us,
            _ => self.network.delay_us(self.address(from), self.address(to)),
        }
    }

    /// Sends something that is overtaken by others: it arrives, or is looked at, so much later.
    pub fn send_slowly(&mut self, from: Node, to: Node, more_us: u64, message: Message) {
        let delay_us = self.travel_us(from, to, Stream::Single) + more_us;
        self.after(delay_us, Next::Deliver { from, to, message });
    }

    /// Sends.
    pub fn send(&mut self, from: Node, to: Node, stream: Stream, message: Message) {
        let delay_us = self.travel_us(from, to, stream);
        self.after(delay_us, Next::Deliver { from, to, message });
    }

    fn travel_us(&mut self, from: Node, to: Node, stream: Stream) -> u64 {
        let way = (self.address(from), self.address(to));
        let at = self
            .network
            .arrival_us(self.now_us, way, stream, &mut self.random);
        let store = from == Node::Store || to == Node::Store;
        let more = if store { self.scenario.store_us } else { 0 };
        at.saturating_sub(self.now_us) + more
    }

    /// Notes what the observer saw.
    pub fn saw(&mut self, event: Event) {
        self.history.push(event);
    }

    /// Notes a fault.
    pub fn fault(&mut self, text: String) {
        self.figures.faults += 1;
        self.saw(Event::Fault {
            at_us: self.now_us,
            text,
        });
    }
}
