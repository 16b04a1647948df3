//! A module that breaks every limit: the client is told, the next request is served, the memory comes back.

use crate::harness::{Stack, guest, until};

const LIMITS: [&str; 8] = [
    "--wall-time-ms-max",
    "2000",
    "--cpu-time-ms-max",
    "500",
    "--memory-bytes-max",
    "33554432",
    "--response-bytes-max",
    "1048576",
];
/// How much more memory than before a PoP may hold after all of it, in KiB.
const GROWTH_KIB_MAX: u64 = 192 << 10;

/// Resident memory of a process, in KiB.
fn resident_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_limit_holds() {
    let stack = Stack::empty();
    stack.publish("hostile", &guest("hostile"));
    stack.brink(&[&["deploy", "hostile", "--wait"][..], &LIMITS].concat());
    let ok = || assert_eq!(stack.get(0, "/hostile/ok").expect(200).body, "ok\n");
    ok();
    let id = stack.pops[0].running.id();
    let before = resident_kib(id);
    for (case, statuses) in [
        ("loop", &[503, 504][..]),
        ("allocate", &[500, 503]),
        ("recurse", &[500, 503]),
        ("trap", &[500]),
        ("never", &[503, 504]),
        ("no-answer", &[500, 502]),
        ("many-headers", &[500, 502]),
        ("huge-header", &[500, 502]),
        ("bad-status", &[500, 502]),
    ] {
        let answer = stack.get(0, &format!("/hostile/{case}"));
        assert!(statuses.contains(&answer.status), "{case}: {answer:?}");
        let status = answer.status;
        answer.problem(status);
        ok();
    }
    // The head may have been sent by then: an answer that is cut off is no answer either.
    for case in [
        "big-body",
        "trap-late",
        "never-late",
        "short-body",
        "bad-headers",
    ] {
        if let Ok(answer) = stack.curl(0, &format!("/hostile/{case}")).try_send() {
            assert!(
                [500, 502, 503, 504].contains(&answer.status),
                "{case}: {answer:?}"
            );
        }
        ok();
    }
    let answer = stack.get(0, "/hostile/forbidden-headers");
    assert_eq!(answer.header("transfer-encoding"), "", "{answer:?}");
    ok();
    until("the memory to come back", || {
        (resident_kib(id) < before + GROWTH_KIB_MAX).then_some(())
    });
    assert!(
        !stack.logs().contains("panicked"),
        "something of ours panicked"
    );
}

#[test]
fn many_that_never_answer_do_not_stop_the_others() {
    let stack = Stack::with(&[("hello", &[])]);
    stack.publish("hostile", &guest("hostile"));
    stack.brink(
        &[
            &["deploy", "hostile", "--wait", "--concurrency-max", "4"][..],
            &LIMITS,
        ]
        .concat(),
    );
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| stack.get(0, "/hostile/never").status))
            .collect();
        for number in 0..20 {
            stack.get(0, &format!("/hello?name=n{number}")).expect(200);
        }
        for caller in callers {
            let status = caller.join().unwrap();
            assert!([503, 504].contains(&status), "{status}");
        }
    });
    assert_eq!(stack.get(0, "/hostile/ok").expect(200).body, "ok\n");
}
