//! The caches that are run beside each other: nginx, HAProxy and Varnish of Debian trixie, and `brink-edge`. Each stands
//! before the same origin, with the same certificate, keeps what it stores in memory (nginx: in files of the page cache),
//! writes no access log, and has a thread for each processor.
//!
//! Trixie's programs run from a folder, by the dynamic linker and the libraries that are there.

use super::Plan;
use crate::{figures, identity::Identity, server::Server};
use anyhow::{Context as _, Result};
use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

/// A cache under load.
pub(super) struct Cache {
    /// What it is called in the table.
    pub(super) name: &'static str,
    /// Its processes; none of them is another's.
    pub(super) servers: Vec<Server>,
    /// HTTP/1.1 without TLS; `http://ADDRESS`.
    pub(super) plain: SocketAddr,
    /// HTTP/2 over TLS, and HTTP/3; none: it has no TLS, and speaks HTTP/2 with prior knowledge on `plain`.
    pub(super) tls: Option<SocketAddr>,
}

/// Where what is started finds what it needs.
pub(super) struct Place<'a> {
    pub(super) plan: &'a Plan,
    pub(super) directory: &'a Path,
    pub(super) identity: &'a Identity,
    pub(super) origin: SocketAddr,
}

impl Place<'_> {
    /// Starts all.
    pub(super) fn start(&self) -> Result<Vec<Cache>> {
        let mut caches = vec![self.brink()?];
        if let Some(trixie) = &self.plan.trixie {
            caches.push(self.nginx(trixie)?);
            caches.push(self.haproxy(trixie)?);
            caches.push(self.varnish(trixie)?);
        }
        Ok(caches)
    }

    /// Two, as one has TLS or has not.
    fn brink(&self) -> Result<Cache> {
        let origin = format!("http://{}", self.origin);
        let start = |name: &str, more: &[&str]| -> Result<(Server, SocketAddr)> {
            let mut arguments = vec!["proxy", "--origin", &origin];
            arguments.extend(["--listen", "127.0.0.1:0", "--log", "warn"]);
            arguments.extend(more);
            let ready = self.directory.join(format!("{name}.json"));
            let (server, ready) = Server::brink(&self.plan.edge, &arguments, &ready)?;
            let url: http::Uri = figures::url(&ready, "url")?.parse()?;
            let authority = url.authority().context("an authority")?;
            Ok((server, authority.as_str().parse()?))
        };
        let certificate = self.identity.certificate.display().to_string();
        let key = self.identity.key.display().to_string();
        let (plain, plain_address) = start("plain", &[])?;
        let with_tls = ["--certificate", &certificate, "--key", &key];
        let (tls, tls_address) = start("tls", &with_tls)?;
        Ok(Cache {
            name: "Brink",
            servers: vec![plain, tls],
            plain: plain_address,
            tls: Some(tls_address),
        })
    }

    fn nginx(&self, trixie: &Path) -> Result<Cache> {
        let directory = self.folder("nginx")?;
        let [plain, tls] = [free()?, free()?];
        let mut text = String::new();
        writeln!(
            text,
            "user root; daemon off; worker_processes auto; error_log stderr warn; pid {0}/pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;
  open_file_cache max=1000; aio off; reset_timedout_connection on; server_tokens off;
  client_body_temp_path {0}/body; proxy_temp_path {0}/temp; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u;
  scgi_temp_path {0}/s;
  proxy_cache_path {0}/cache keys_zone=all:16m levels=1:2 use_temp_path=off inactive=1h;
  ssl_certificate {1}; ssl_certificate_key {2}; ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen {plain} reuseport;
    listen {tls} ssl reuseport;
    listen {tls} quic reuseport;
    http2 on; http3 on; http2_max_concurrent_streams 128; http3_max_concurrent_streams 128; quic_gso on;
    location / {{
      proxy_pass http://{3}; proxy_cache all; proxy_http_version 1.1;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}",
            directory.display(),
            self.identity.certificate.display(),
            self.identity.key.display(),
            self.origin
        )?;
        let file = write(&directory, "nginx.conf", &text)?;
        let mut command = program(trixie, "usr/sbin/nginx");
        command.arg("-c").arg(file).arg("-p").arg(&directory);
        command.args(["-e", "stderr"]);
        Ok(Cache {
            name: "nginx",
            servers: vec![Server::program(command, plain)?],
            plain,
            tls: Some(tls),
        })
    }

    fn haproxy(&self, trixie: &Path) -> Result<Cache> {
        let directory = self.folder("haproxy")?;
        let bundle = self.identity.bundle(&directory)?;
        let [plain, tls] = [free()?, free()?];
        let text = format!(
            "global
  maxconn 4096
  limited-quic
  tune.h2.fe.max-concurrent-streams 128
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  option http-keep-alive
cache all
  total-max-size 256
  max-object-size 8000000
  max-age 3600
frontend in
  bind {plain}
  bind {tls} ssl crt {0} alpn h2,http/1.1
  bind quic4@{tls} ssl crt {0} alpn h3
  http-request cache-use all
  http-response cache-store all
  default_backend origin
backend origin
  server one {1}
",
            bundle.display(),
            self.origin
        );
        let file = write(&directory, "haproxy.cfg", &text)?;
        let mut command = program(trixie, "usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(file);
        Ok(Cache {
            name: "HAProxy",
            servers: vec![Server::program(command, plain)?],
            plain,
            tls: Some(tls),
        })
    }

    /// HTTP/1.1, and HTTP/2 without TLS: that is all that it speaks.
    fn varnish(&self, trixie: &Path) -> Result<Cache> {
        let directory = self.folder("varnish")?;
        let plain = free()?;
        let vcl = format!(
            "vcl 4.1;\nbackend default {{ .host = \"{}\"; .port = \"{}\"; }}\n",
            self.origin.ip(),
            self.origin.port()
        );
        let file = write(&directory, "default.vcl", &vcl)?;
        let mut command = program(trixie, "usr/sbin/varnishd");
        command.args(["-F", "-j", "none", "-s", "malloc,256m", "-a"]);
        command.arg(format!("{plain},HTTP")).arg("-f").arg(file);
        command.arg("-n").arg(directory.join("work"));
        command.args(["-p", "feature=+http2"]);
        Ok(Cache {
            name: "Varnish",
            servers: vec![Server::program(command, plain)?],
            plain,
            tls: None,
        })
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.directory.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// A program of trixie, run by trixie's dynamic linker.
fn program(trixie: &Path, path: &str) -> Command {
    let mut command = Command::new(trixie.join("usr/lib64/ld-linux-x86-64.so.2"));
    let libraries = [
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/varnish",
    ];
    let libraries = libraries.map(|folder| trixie.join(folder).display().to_string());
    command.arg("--library-path").arg(libraries.join(":"));
    command.arg(trixie.join(path));
    command
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// A port that nobody has right now.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
