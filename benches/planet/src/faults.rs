//! What goes wrong.

use crate::{
    context::{Context, Next, Node},
    core::Core,
    network::Stream,
    pop::Pop,
};

/// Longest cut or standstill, in microseconds.
const CUT_US_MAX: u64 = 6_000_000;

/// One thing goes wrong, and another one later.
pub fn strike(ctx: &mut Context, cores: &mut [Core], pops: &mut [Pop]) {
    let pop = ctx.random.below(pops.len());
    let core = ctx.random.below(cores.len());
    let is_power = ctx.scenario.has_power_failures && ctx.random.chance(0.7);
    match if is_power { 0 } else { ctx.random.below(12) } {
        0 | 1 => {
            if let Some(pop) = pops.get_mut(pop) {
                crash_pop(ctx, pop);
            }
        }
        2 | 3 => {
            if let Some(core) = cores.get_mut(core) {
                crash_core(ctx, core);
            }
        }
        4 => cut(ctx, Some(Node::Core(core)), Some(Node::Store)),
        5 | 6 => {
            let other = ctx.random.below(cores.len());
            if other != core {
                cut(ctx, Some(Node::Core(core)), Some(Node::Core(other)));
            }
        }
        7 => cut(ctx, Some(Node::Core(core)), None),
        8 => cut(ctx, Some(Node::Pop(pop)), None),
        9 => cut(ctx, Some(Node::Pop(pop)), Some(Node::Core(core))),
        10 => {
            if let Some(pop) = pops.get_mut(pop) {
                ctx.fault("a PoP loses its connections".to_owned());
                pop.disconnect(ctx);
            }
        }
        _ => {
            if let Some(pop) = pops.get(pop) {
                stall(ctx, pop);
            }
        }
    }
    let mean = ctx.scenario.fault_us;
    let delay_us = ctx.random.between(mean / 4, mean * 2);
    ctx.after(delay_us, Next::Fault);
}

fn crash_pop(ctx: &mut Context, pop: &mut Pop) {
    if !pop.is_up() {
        return;
    }
    let keeps_journal = ctx.random.chance(0.7);
    let node = pop.node();
    let with = if keeps_journal { "with" } else { "without" };
    ctx.fault(format!("{node:?} crashes, {with} its journal"));
    pop.crash(ctx, keeps_journal);
    let delay_us = ctx.random.between(50_000, 4_000_000);
    if ctx.random.chance(if ctx.scenario.has_power_failures {
        0.8
    } else {
        0.2
    }) {
        // What took its power away took its network away too, and that is back later.
        let until_us = ctx.now_us + delay_us + ctx.random.between(0, CUT_US_MAX / 2);
        let address = Some(ctx.address(node));
        ctx.network.cut(address, None, until_us);
        ctx.network.cut(None, address, until_us);
        ctx.fault(format!("{node:?} is cut from all others"));
    }
    ctx.after(delay_us, Next::Restart { node });
}

/// A core's process ends, and another one begins after a while: sooner or later than its log is taken over.
pub fn crash_core(ctx: &mut Context, core: &mut Core) {
    if !core.is_up() {
        return;
    }
    let node = core.node();
    core.crash();
    let most = if ctx.random.chance(0.7) {
        1_000_000
    } else {
        7_000_000
    };
    let delay_us = ctx.random.between(50_000, most);
    ctx.fault(format!("{node:?} crashes for {} ms", delay_us / 1_000));
    ctx.after(delay_us, Next::Restart { node });
}

/// Takes two nodes, or one and all others, apart: in one direction, or in both.
fn cut(ctx: &mut Context, a: Option<Node>, b: Option<Node>) {
    let lasts_us = ctx.random.between(100_000, CUT_US_MAX);
    let until_us = ctx.now_us + lasts_us;
    let (from, to) = (a.map(|a| ctx.address(a)), b.map(|b| ctx.address(b)));
    let ways = ctx.random.below(3);
    if ways != 1 {
        ctx.network.cut(from, to, until_us);
    }
    if ways != 0 {
        ctx.network.cut(to, from, until_us);
    }
    let ways = ["to", "from", "to and from"]
        .get(ways)
        .copied()
        .unwrap_or("to");
    let others = b.map_or_else(|| "all others".to_owned(), |b| format!("{b:?}"));
    let a = a.map_or_else(String::new, |a| format!("{a:?}"));
    ctx.fault(format!(
        "{a} is cut {ways} {others} for {} ms",
        lasts_us / 1_000
    ));
}

/// The feed of a PoP stands still while its requests pass.
fn stall(ctx: &mut Context, pop: &Pop) {
    let (core, feed) = pop.follows();
    let lasts_us = ctx.random.between(100_000, CUT_US_MAX / 2);
    let way = (ctx.address(Node::Core(core)), ctx.address(pop.node()));
    let until_us = ctx.now_us + lasts_us;
    ctx.network.stall(way, Stream::of(feed), until_us);
    let text = format!(
        "the feed of {:?} stands still for {} ms",
        pop.node(),
        lasts_us / 1_000
    );
    ctx.fault(text);
}
