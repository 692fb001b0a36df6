//! The sums of a backend: who is at work, how fast, and who is done when. Time is passed in, as seconds.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    task::Waker,
};

/// Who is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// All at once, each with an equal share, and none with more than one server (processor sharing).
    Shared,
    /// As many as there are servers; the others wait, first come first served.
    Queued,
}

/// What a backend can do. May change while calls are at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// How many calls it serves at full speed at once. A fraction makes sense where calls share.
    pub servers: f64,
    /// How fast a server is: 0.1 takes ten times as long.
    pub speed: f64,
    /// What a crowd costs: with `n` calls at work the speed of all is divided by `1 + per_excess * (n / servers - 1)`.
    pub per_excess: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self { servers: 16.0, speed: 1.0, per_excess: 0.0 }
    }
}

/// Calls, each known by a number.
#[derive(Debug)]
pub struct Station {
    machine: Machine,
    discipline: Discipline,
    /// The work that each call at work has been given since the beginning: who joins at `progress` is done at `progress + size`.
    progress: f64,
    at: f64,
    /// By when (in `progress`) each call at work is done. Those that left are still in here.
    ends: BinaryHeap<Reverse<(Ordered, u64)>>,
    at_work: usize,
    waiting: VecDeque<u64>,
    calls: HashMap<u64, Call>,
    next: u64,
    /// The sum of the sizes of the calls that were done.
    done: f64,
}

#[derive(Debug)]
struct Call {
    size: f64,
    at_work: bool,
    /// Whoever wants to know when it is done.
    waker: Option<Waker>,
}

/// Numbers in their total order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Station {
    pub fn new(machine: Machine, discipline: Discipline) -> Self {
        Self {
            machine,
            discipline,
            progress: 0.0,
            at: 0.0,
            ends: BinaryHeap::new(),
            at_work: 0,
            waiting: VecDeque::new(),
            calls: HashMap::new(),
            next: 0,
            done: 0.0,
        }
    }

    /// How much work each call at work is given in a second.
    #[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
    fn rate(&self) -> f64 {
        let Machine { servers, speed, per_excess } = self.machine;
        let crowd = self.at_work as f64 / servers;
        let shared = match self.discipline {
            Discipline::Shared => speed / crowd.max(1.0),
            Discipline::Queued => speed,
        };
        shared / (1.0 + per_excess * (crowd - 1.0).max(0.0))
    }

    /// When the next call is done if nothing changes.
    pub fn next_end(&mut self) -> Option<f64> {
        while let Some(Reverse((_, number))) = self.ends.peek()
            && !self.calls.contains_key(number)
        {
            self.ends.pop();
        }
        let Reverse((Ordered(end), _)) = self.ends.peek()?;
        let rate = self.rate();
        (rate > 0.0).then(|| self.at + (end - self.progress).max(0.0) / rate)
    }

    /// Comes to `now`: who is done by then leaves at its own time, to the others' benefit, and is woken. A nanosecond is
    /// forgiven, which is as well as the clock tells times.
    pub fn come_to(&mut self, now: f64) {
        while let Some(end) = self.next_end().filter(|end| *end <= now + 1e-9) {
            let Some(Reverse((Ordered(progress), number))) = self.ends.pop() else { break };
            (self.progress, self.at) = (progress.max(self.progress), end);
            if let Some(call) = self.calls.remove(&number) {
                self.done += call.size;
                if let Some(waker) = call.waker {
                    waker.wake();
                }
            }
            self.at_work -= 1;
            self.fill();
        }
        if now > self.at {
            self.progress += (now - self.at) * self.rate();
            self.at = now;
        }
    }

    /// Puts those to work for whom there is a server.
    #[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
    fn fill(&mut self) {
        while self.discipline == Discipline::Shared || ((self.at_work + 1) as f64) <= self.machine.servers {
            let Some(number) = self.waiting.pop_front() else { break };
            if let Some(call) = self.calls.get_mut(&number) {
                call.at_work = true;
                self.at_work += 1;
                self.ends.push(Reverse((Ordered(self.progress + call.size), number)));
            }
        }
    }

    /// A call arrives. The time must have come to now.
    pub fn join(&mut self, size: f64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.calls.insert(number, Call { size, at_work: false, waker: None });
        self.waiting.push_back(number);
        self.fill();
        number
    }

    /// Whether a call is done; else `waker` is woken once it is.
    pub fn is_done(&mut self, number: u64, waker: &Waker) -> bool {
        match self.calls.get_mut(&number) {
            None => true,
            Some(call) => {
                call.waker.clone_from(&Some(waker.clone()));
                false
            }
        }
    }

    /// A call leaves before it is done, if it is not. The time must have come to now.
    pub fn leave(&mut self, number: u64) {
        if self.calls.remove(&number).is_some_and(|call| call.at_work) {
            self.at_work -= 1;
            self.fill();
        }
    }

    /// Nobody waits for this call any more, but it goes on.
    pub fn forget(&mut self, number: u64) {
        if let Some(call) = self.calls.get_mut(&number) {
            call.waker = None;
        }
    }

    /// Becomes another machine. The time must have come to now.
    pub fn change(&mut self, machine: Machine) {
        self.machine = machine;
        self.fill();
    }

    /// Calls here: at work, and waiting.
    pub fn here(&self) -> usize {
        self.calls.len()
    }

    /// The work that was done for calls that were seen to their end, in seconds of a server.
    pub const fn done(&self) -> f64 {
        self.done
    }
}
