//! What wasmtime's `bindgen!` makes of `wit/platform.wit`: the host traits of `brink:platform`, and the calls of the
//! other worlds than `module`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

/// Every interface that guests import.
pub mod platform {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package brink:host;
            world imports {
                import brink:platform/records@0.1.0;
                import brink:platform/events@0.1.0;
                import brink:platform/event-append@0.1.0;
                import brink:platform/commands@0.1.0;
                import brink:platform/workflows@0.1.0;
                import brink:platform/cache@0.1.0;
                import brink:platform/config@0.1.0;
                import brink:platform/log@0.1.0;
                import brink:platform/identity@0.1.0;
                import brink:platform/clock@0.1.0;
                import brink:platform/random@0.1.0;
                import brink:platform/plugin-types@0.1.0;
                import brink:platform/workflow-types@0.1.0;
            }
        ",
        world: "brink:host/imports",
        imports: {
            "brink:platform/records": async | trappable,
            "brink:platform/events": async | trappable,
            "brink:platform/event-append": async | trappable,
            "brink:platform/commands": async | trappable,
            "brink:platform/workflows": async | trappable,
            "brink:platform/cache.purge": async | trappable,
            default: trappable,
        },
    });
    pub use self::brink::platform::*;
}

/// The world `command`.
pub mod command {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "brink:platform/command",
        exports: { default: async },
        with: { "brink:platform": crate::bindings::platform },
    });
}

/// The world `plugin`.
pub mod plugin {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "brink:platform/plugin",
        exports: { default: async },
        with: { "brink:platform": crate::bindings::platform },
    });
}

/// The world `projection`.
pub mod projection {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "brink:platform/projection",
        exports: { default: async },
        with: { "brink:platform": crate::bindings::platform },
    });
}

/// The world `workflow`.
pub mod workflow {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "brink:platform/workflow",
        exports: { default: async },
        with: { "brink:platform": crate::bindings::platform },
    });
}
