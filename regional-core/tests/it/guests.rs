//! Components for the tests, made of WebAssembly text.

use bytes::Bytes;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Memory, what gives room in it, and an answer of a case (0: well) and bytes: `{memory}` of those below.
const MEMORY: &str = r#"(memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
        (global.get $heap)
        (global.set $heap (i32.add (global.get $heap) (local.get 3)))
        (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
            (then (drop (memory.grow (i32.const 4))))))
    (func $give (param $case i32) (param $at i32) (param $bytes i32) (result i32)
        (i32.store (i32.const 600) (local.get $case))
        (i32.store (i32.const 604) (local.get $at))
        (i32.store (i32.const 608) (local.get $bytes))
        (i32.const 600))"#;

/// A command over the record `counters / p / n`: adds 1 and answers with the count as eight bytes. What it does besides
/// is the first byte of its input: `r` refuses after it has written, `t` traps, `o` writes to another partition, `w` asks
/// who calls.
const COUNTER: &str = r#"(module
    (import "brink:platform/records@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32 i32 i32)))
    (import "brink:platform/records@0.1.0" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
    (import "brink:platform/identity@0.1.0" "subject" (func $subject (param i32)))
    {memory}
    (data (i32.const 16) "counters")
    (data (i32.const 32) "p")
    (data (i32.const 40) "n")
    (data (i32.const 48) "other")
    (data (i32.const 64) "no more")
    (func $read (result i64)
        (call $get (i32.const 16) (i32.const 8) (i32.const 32) (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 256))
        (if (i32.load8_u (i32.const 256)) (then (unreachable)))
        (if (result i64) (i32.load8_u (i32.const 264))
            (then (i64.load (i32.load (i32.const 280))))
            (else (i64.const 0))))
    (func $write (param $partition i32) (param $length i32)
        (call $put (i32.const 16) (i32.const 8) (local.get $partition) (local.get $length) (i32.const 40) (i32.const 1)
            (i32.const 512) (i32.const 8) (i32.const 0) (i64.const 0) (i32.const 1024))
        (if (i32.load8_u (i32.const 1024)) (then (unreachable))))
    (func (export "execute") (param $address i32) (param $length i32) (result i32)
        (local $what i32)
        (if (local.get $length) (then (local.set $what (i32.load8_u (local.get $address)))))
        (i64.store (i32.const 512) (i64.add (call $read) (i64.const 1)))
        (call $write (i32.const 32) (i32.const 1))
        ;; Its own write is seen by its own read.
        (if (i64.ne (call $read) (i64.load (i32.const 512))) (then (unreachable)))
        (if (i32.eq (local.get $what) (i32.const 116)) (then (unreachable)))
        (if (i32.eq (local.get $what) (i32.const 119)) (then (call $subject (i32.const 1024))))
        (if (i32.eq (local.get $what) (i32.const 111)) (then (call $write (i32.const 48) (i32.const 5))))
        (if (result i32) (i32.eq (local.get $what) (i32.const 114))
            (then (call $give (i32.const 1) (i32.const 64) (i32.const 7)))
            (else (call $give (i32.const 0) (i32.const 512) (i32.const 8))))))"#;

/// A command of which the input says what it does: how (`.` well, `r` it refuses, `t` it traps), the length of its partition
/// key, that key, a sort key. It counts how often it took effect on the record there, in collection `work`. What it cannot
/// read or write it refuses, as most commands do.
const EFFECT: &str = r#"(module
    (import "brink:platform/records@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32 i32 i32)))
    (import "brink:platform/records@0.1.0" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
    {memory}
    (data (i32.const 16) "work")
    (data (i32.const 64) "no more")
    (func (export "execute") (param $input i32) (param $length i32) (result i32)
        (local $how i32) (local $p i32) (local $pl i32) (local $s i32) (local $sl i32)
        (local.set $how (i32.load8_u (local.get $input)))
        (local.set $pl (i32.load8_u offset=1 (local.get $input)))
        (local.set $p (i32.add (local.get $input) (i32.const 2)))
        (local.set $s (i32.add (local.get $p) (local.get $pl)))
        (local.set $sl (i32.sub (i32.sub (local.get $length) (i32.const 2)) (local.get $pl)))
        (call $get (i32.const 16) (i32.const 4) (local.get $p) (local.get $pl) (local.get $s) (local.get $sl) (i32.const 256))
        (if (i32.load8_u (i32.const 256)) (then (return (call $give (i32.const 1) (i32.const 64) (i32.const 7)))))
        (i64.store (i32.const 512) (i64.add (i64.const 1)
            (if (result i64) (i32.load8_u (i32.const 264))
                (then (i64.load (i32.load (i32.const 280))))
                (else (i64.const 0)))))
        (call $put (i32.const 16) (i32.const 4) (local.get $p) (local.get $pl) (local.get $s) (local.get $sl)
            (i32.const 512) (i32.const 8) (i32.const 0) (i64.const 0) (i32.const 1024))
        (if (i32.load8_u (i32.const 1024)) (then (return (call $give (i32.const 1) (i32.const 64) (i32.const 7)))))
        (if (i32.eq (local.get $how) (i32.const 116)) (then (unreachable)))
        (if (result i32) (i32.eq (local.get $how) (i32.const 114))
            (then (call $give (i32.const 1) (i32.const 64) (i32.const 7)))
            (else (call $give (i32.const 0) (i32.const 512) (i32.const 8))))))"#;

/// A workflow of five steps, each a call of `effect`, in the partitions `p0`, `p1` and `p2` of `work` in turn. Its input is how
/// one of them goes, the number of that, and an id: `.` all go well, `r` it refuses, `t` it traps, `s` it refuses and no
/// compensation runs, `w` the workflow waits for a day first. Records are `ID/s0` and so on, of compensations `ID/u0`.
const FIVES: &str = r#"(module
    {memory}
    (data (i32.const 16) "effect")
    (data (i32.const 32) "work")
    (data (i32.const 64) "shipped")
    (func $input (param $at i32) (param $how i32) (param $kind i32) (param $n i32) (param $id i32) (param $length i32)
        (result i32)
        (local $end i32)
        (i32.store8 (local.get $at) (local.get $how))
        (i32.store8 offset=1 (local.get $at) (i32.const 2))
        (i32.store8 offset=2 (local.get $at) (i32.const 112))
        (i32.store8 offset=3 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 3))))
        (memory.copy (i32.add (local.get $at) (i32.const 4)) (local.get $id) (local.get $length))
        (local.set $end (i32.add (i32.add (local.get $at) (i32.const 4)) (local.get $length)))
        (i32.store8 (local.get $end) (i32.const 47))
        (i32.store8 offset=1 (local.get $end) (local.get $kind))
        (i32.store8 offset=2 (local.get $end) (i32.add (i32.const 48) (local.get $n)))
        (i32.add (local.get $length) (i32.const 7)))
    (func $call (param $to i32) (param $at i32) (param $length i32)
        (i32.store (local.get $to) (i32.const 16))
        (i32.store offset=4 (local.get $to) (i32.const 6))
        (i32.store offset=8 (local.get $to) (i32.const 32))
        (i32.store offset=12 (local.get $to) (i32.const 4))
        (i32.store offset=16 (local.get $to) (i32.add (local.get $at) (i32.const 2)))
        (i32.store offset=20 (local.get $to) (i32.const 2))
        (i32.store offset=24 (local.get $to) (local.get $at))
        (i32.store offset=28 (local.get $to) (local.get $length)))
    (func $end (param $case i32) (param $at i32) (param $length i32) (result i32)
        (i32.store8 (i32.const 600) (local.get $case))
        (i32.store (i32.const 608) (local.get $at))
        (i32.store (i32.const 612) (local.get $length))
        (i32.const 600))
    (func (export "decide") (param $input i32) (param $length i32) (param $outcomes i32) (param $n i32) (result i32)
        (local $last i32) (local $how i32) (local $undo i32) (local $fault i32)
        (local.set $fault (i32.load8_u (local.get $input)))
        (local.set $last (i32.add (local.get $outcomes) (i32.mul (i32.const 12) (i32.sub (local.get $n) (i32.const 1)))))
        (if (local.get $n) (then (if (i32.eq (i32.load8_u (local.get $last)) (i32.const 1)) (then
            (return (call $end (i32.const 3) (i32.load offset=4 (local.get $last)) (i32.load offset=8 (local.get $last))))))))
        (if (i32.eq (local.get $n) (i32.const 5)) (then
            (return (call $end (i32.const 2) (i32.const 64) (i32.const 7)))))
        (if (i32.eq (local.get $fault) (i32.const 119)) (then
            (i32.store8 (i32.const 600) (i32.const 1))
            (i64.store (i32.const 608) (i64.const 86400000))
            (return (i32.const 600))))
        (local.set $how (i32.const 46))
        (local.set $undo (i32.const 46))
        (if (i32.eq (local.get $fault) (i32.const 115)) (then
            (local.set $fault (i32.const 114))
            (local.set $undo (i32.const 116))))
        (if (i32.eq (i32.load8_u offset=1 (local.get $input)) (i32.add (i32.const 48) (local.get $n))) (then
            (local.set $how (local.get $fault))))
        (local.set $input (i32.add (local.get $input) (i32.const 2)))
        (local.set $length (i32.sub (local.get $length) (i32.const 2)))
        (call $call (i32.const 608) (i32.const 2048)
            (call $input (i32.const 2048) (local.get $how) (i32.const 115) (local.get $n) (local.get $input) (local.get $length)))
        (i32.store8 (i32.const 640) (i32.const 1))
        (call $call (i32.const 644) (i32.const 3072)
            (call $input (i32.const 3072) (local.get $undo) (i32.const 117) (local.get $n) (local.get $input) (local.get $length)))
        (i32.store8 (i32.const 600) (i32.const 0))
        (i32.const 600)))"#;

/// A command that appends events to its partition, `streams / p`. The first byte of its input is how many; what it does then
/// is the second: `r` refuses, `t` traps. It answers with what it reads of the stream afterwards, its own events among it: the
/// newest number and how many there are, as eight bytes each. One that cannot be appended makes it refuse.
const APPENDS: &str = r#"(module
    (import "brink:platform/events@0.1.0" "read" (func $read (param i32 i32 i32 i32 i64 i32 i32)))
    (import "brink:platform/event-append@0.1.0" "append" (func $append (param i32 i32 i32 i32 i32 i64 i32)))
    {memory}
    (data (i32.const 16) "streams")
    (data (i32.const 32) "p")
    (data (i32.const 40) "counted")
    (func (export "execute") (param $address i32) (param $length i32) (result i32)
        (local $left i32) (local $what i32)
        (local.set $left (i32.load8_u (local.get $address)))
        (if (i32.gt_u (local.get $length) (i32.const 1))
            (then (local.set $what (i32.load8_u offset=1 (local.get $address)))))
        (loop $next (if (local.get $left) (then
            (call $append (i32.const 40) (i32.const 7) (local.get $address) (local.get $length)
                (i32.const 0) (i64.const 0) (i32.const 256))
            (if (i32.load8_u (i32.const 256)) (then (return (call $give (i32.const 1) (i32.const 512) (i32.const 16)))))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $next))))
        (call $read (i32.const 16) (i32.const 7) (i32.const 32) (i32.const 1) (i64.const 0) (i32.const 1000)
            (i32.const 256))
        (if (i32.load8_u (i32.const 256)) (then (unreachable)))
        (i64.store (i32.const 512) (i64.load (i32.const 288)))
        (i64.store (i32.const 520) (i64.load32_u (i32.const 268)))
        (if (i32.eq (local.get $what) (i32.const 116)) (then (unreachable)))
        (call $give (i32.eq (local.get $what) (i32.const 114)) (i32.const 512) (i32.const 16))))"#;

/// A projection of collection `src` to `totals`: the target of an event is its kind. It counts events and sums up their
/// numbers in the record `n`, eight bytes each. Events with a payload it refuses.
const TALLY: &str = r#"(module
    (import "brink:platform/records@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32 i32 i32)))
    (import "brink:platform/records@0.1.0" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
    {memory}
    (data (i32.const 16) "totals")
    (data (i32.const 40) "n")
    (data (i32.const 64) "no more")
    (func (export "target") (param i32 i32 i64) (param $kind i32) (param $length i32) (param i64 i32 i32) (result i32)
        (i32.store8 (i32.const 256) (i32.const 1))
        (i32.store (i32.const 260) (local.get $kind))
        (i32.store (i32.const 264) (local.get $length))
        (i32.const 256))
    (func (export "apply") (param i32 i32) (param $events i32) (param $left i32) (result i32)
        (local $kind i32) (local $length i32) (local $count i64) (local $sum i64)
        (local.set $kind (i32.load offset=8 (local.get $events)))
        (local.set $length (i32.load offset=12 (local.get $events)))
        (call $get (i32.const 16) (i32.const 6) (local.get $kind) (local.get $length) (i32.const 40) (i32.const 1) (i32.const 256))
        (if (i32.load8_u (i32.const 256)) (then (unreachable)))
        (if (i32.load8_u (i32.const 264)) (then
            (local.set $count (i64.load (i32.load (i32.const 280))))
            (local.set $sum (i64.load offset=8 (i32.load (i32.const 280))))))
        (loop $next (if (local.get $left) (then
            (if (i32.load offset=28 (local.get $events)) (then
                (return (call $give (i32.const 1) (i32.const 64) (i32.const 7)))))
            (local.set $count (i64.add (local.get $count) (i64.const 1)))
            (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $events))))
            (local.set $events (i32.add (local.get $events) (i32.const 32)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $next))))
        (i64.store (i32.const 512) (local.get $count))
        (i64.store (i32.const 520) (local.get $sum))
        (call $put (i32.const 16) (i32.const 6) (local.get $kind) (local.get $length) (i32.const 40) (i32.const 1)
            (i32.const 512) (i32.const 16) (i32.const 0) (i64.const 0) (i32.const 1024))
        (if (i32.load8_u (i32.const 1024)) (then (unreachable)))
        (i32.store8 (i32.const 600) (i32.const 0))
        (i32.const 600)))"#;

/// A command that reads the clock; `{n}` makes its bytes differ.
const CLOCK: &str = r#"(module
    (import "brink:platform/clock@0.1.0" "now-ms" (func $now (result i64)))
    (memory (export "memory") 1)
    (data (i32.const 16) "{n}")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "execute") (param i32 i32) (result i32)
        (i64.store (i32.const 512) (call $now))
        (i32.store (i32.const 604) (i32.const 512))
        (i32.store (i32.const 608) (i32.const 8))
        (i32.const 600)))"#;

/// A module that answers nothing; `{n}` makes its bytes differ.
const MODULE: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 16) "{n}")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "wasi:http/incoming-handler@0.2.10#handle") (param i32 i32)))"#;

fn component(world: &str, wat: &str) -> Bytes {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))
        .unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = wat::parse_str(wat.replace("{memory}", MEMORY)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .unwrap()
        .into()
}

pub fn counter() -> Bytes {
    component("command", COUNTER)
}

pub fn effect() -> Bytes {
    component("command", EFFECT)
}

pub fn fives() -> Bytes {
    component("workflow", FIVES)
}

/// The same with another result, of at most 7 bytes.
pub fn fives_of(result: &str) -> Bytes {
    let length = format!("(i32.const 64) (i32.const {})", result.len());
    let other = FIVES.replace("shipped", result);
    component(
        "workflow",
        &other.replace("(i32.const 64) (i32.const 7)", &length),
    )
}

pub fn appends() -> Bytes {
    component("command", APPENDS)
}

pub fn tally() -> Bytes {
    component("projection", TALLY)
}

pub fn clock(n: u32) -> Bytes {
    component("command", &CLOCK.replace("{n}", &n.to_string()))
}

pub fn module(n: u32) -> Bytes {
    component("module", &MODULE.replace("{n}", &n.to_string()))
}

/// A component that exports nothing that is called.
pub fn no_world() -> Bytes {
    wat::parse_str("(component)").unwrap().into()
}

/// A component that imports what is not there.
pub fn wants_too_much() -> Bytes {
    let wat = r#"(component
        (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func))))
        (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "execute") (param i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "execute") (param "input" (list u8)) (result (result (list u8) (error (list u8))))
            (canon lift (core func $i "execute") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#;
    wat::parse_str(wat).unwrap().into()
}
