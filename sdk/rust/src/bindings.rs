//! What wit-bindgen makes of `wit/platform.wit`. Generated: use the modules of this crate instead.

#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// The world `module`, and every interface that guests import.
pub mod module {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "brink:platform/module",
        generate_all,
        pub_export_macro: true,
    });
}

/// The world `command`; its imports are those of [`module`].
pub mod command {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "brink:platform/command",
        pub_export_macro: true,
        with: {
            "brink:platform/records@0.1.0": crate::bindings::module::brink::platform::records,
            "brink:platform/config@0.1.0": crate::bindings::module::brink::platform::config,
            "brink:platform/log@0.1.0": crate::bindings::module::brink::platform::log,
            "brink:platform/identity@0.1.0": crate::bindings::module::brink::platform::identity,
            "brink:platform/clock@0.1.0": crate::bindings::module::brink::platform::clock,
            "brink:platform/random@0.1.0": crate::bindings::module::brink::platform::random,
        },
    });
}

/// The world `plugin`; its imports are those of [`module`].
#[cfg(any(feature = "plugin", not(target_arch = "wasm32")))]
pub mod plugin {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "brink:platform/plugin",
        pub_export_macro: true,
        with: {
            "brink:platform/records@0.1.0": crate::bindings::module::brink::platform::records,
            "brink:platform/config@0.1.0": crate::bindings::module::brink::platform::config,
            "brink:platform/log@0.1.0": crate::bindings::module::brink::platform::log,
            "brink:platform/identity@0.1.0": crate::bindings::module::brink::platform::identity,
            "brink:platform/clock@0.1.0": crate::bindings::module::brink::platform::clock,
            "brink:platform/random@0.1.0": crate::bindings::module::brink::platform::random,
            "brink:platform/plugin-types@0.1.0": generate,
        },
    });
}
