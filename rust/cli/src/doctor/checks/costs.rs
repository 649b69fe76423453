//! What runs out, and what makes a fork slow or unsafe.

use super::about;
use crate::doctor::finding::{Finding, Kind};
use crate::doctor::look::{Look, Member};
use crate::machine::memory::ForkCost;
use crate::output::count;

/// Of the limit on descriptors, in percent.
const NEAR: u64 = 90;
/// From here on a fork takes milliseconds: it makes an entry for each private page, and a
/// copy of each mapping.
const MUCH_PRIVATE_KIB: u64 = 256 << 10;
const MANY_MAPPINGS: u64 = 10_000;

pub(super) fn check(look: &Look, found: &mut Vec<Finding>) {
    for member in &look.members {
        check_descriptors(member, found);
    }
    for server in look.servers() {
        let forks =
            look.children(server.pid()).any(|child| child.process.is_copy_of(&server.process));
        if !forks {
            continue;
        }
        check_threads(server, found);
        if let Some(cost) = ForkCost::of(server.pid()) {
            check_cost(server, cost, found);
        }
    }
}

fn check_descriptors(member: &Member, found: &mut Vec<Finding>) {
    let Some(descriptors) = &member.descriptors else { return };
    let (open, Some(most)) = (descriptors.count as u64, descriptors.limit) else { return };
    if open.saturating_mul(100) < most.saturating_mul(NEAR) {
        return;
    }
    let what = format!("it has {open} descriptors open, and the limit is {most}");
    let sockets = descriptors.sockets.len();
    let cause = format!(
        "{} of them are sockets; at the limit accept, open and socket fail with EMFILE (\"Too \
         many open files\")",
        sockets
    );
    found.push(about(Kind::Descriptors, member, what, cause));
}

fn check_threads(server: &Member, found: &mut Vec<Finding>) {
    let threads = server.process.threads;
    if threads < 2 {
        return;
    }
    let what = format!("the process that forks has {threads} threads");
    let cause = "a child has only the thread that called fork: what the others held locked at \
                 that moment stays locked there, so malloc, stdio and the like may hang"
        .to_owned();
    found.push(about(Kind::Threads, server, what, cause));
}

fn check_cost(server: &Member, cost: ForkCost, found: &mut Vec<Finding>) {
    if cost.private_kib < MUCH_PRIVATE_KIB && cost.mappings < MANY_MAPPINGS {
        return;
    }
    let what = "each fork copies much".to_owned();
    found.push(about(Kind::ForkCost, server, what, describe(&cost)));
}

/// "12 mappings, …", for a finding and for the report.
pub(crate) fn describe(cost: &ForkCost) -> String {
    format!(
        "{}, {} KiB of resident private memory, {} KiB of page tables, {}",
        count(cost.mappings, "mapping", "mappings"),
        cost.private_kib,
        cost.page_tables_kib,
        count(cost.threads, "thread", "threads"),
    )
}
