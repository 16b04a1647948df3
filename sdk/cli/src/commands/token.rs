//! `brink token`.

use crate::{
    args::{RoleName, TokenAction},
    client::{Client, encoded},
    error::Error,
    moment::time,
    output::{Output, table},
    private_file,
};
use brink_protocol::{
    TenantName,
    control::{NewToken, Role, Token},
};
use http::Method;
use std::path::Path;

/// Creates, lists and revokes tokens.
pub(super) async fn run(action: TokenAction, client: &Client, output: Output) -> Result<(), Error> {
    match action {
        TokenAction::Create {
            label,
            role,
            tenant,
            lifetime,
            out,
        } => {
            create(
                client,
                new_token(label, role, tenant, lifetime),
                &out,
                output,
            )
            .await
        }
        TokenAction::List => {
            let tokens: Vec<Token> = client.get("/v1/tokens").await?;
            let tokens: Vec<Token> = tokens
                .into_iter()
                .map(|token| Token {
                    secret: None,
                    ..token
                })
                .collect();
            output.result(&tokens, |tokens| list(tokens))
        }
        TokenAction::Revoke { id } => {
            client
                .delete(&format!("/v1/tokens/{}", encoded(&id)))
                .await?;
            output.result(&serde_json::json!({ "id": id }), |_| {
                format!("{id} is revoked")
            })
        }
    }
}

fn new_token(
    label: String,
    role: RoleName,
    tenant: TenantName,
    lifetime_s: Option<u64>,
) -> NewToken {
    NewToken {
        label,
        role: role.into(),
        tenant,
        lifetime_s,
    }
}

async fn create(client: &Client, new: NewToken, out: &Path, output: Output) -> Result<(), Error> {
    if out.exists() {
        return Err(Error::Usage(format!(
            "{} exists and is not written over",
            out.display()
        )));
    }
    let mut token: Token = client.send_json(Method::POST, "/v1/tokens", &new).await?;
    let secret = token
        .secret
        .take()
        .ok_or_else(|| Error::Failed("the control API made a token without a secret".into()))?;
    if let Err(error) = private_file::create(out, &format!("{secret}\n")) {
        // A secret that nobody has is of no use.
        client
            .delete(&format!("/v1/tokens/{}", encoded(&token.id)))
            .await?;
        return Err(error);
    }
    output.result(&token, |token| {
        format!(
            "Token {} ({}, {}) is in {}",
            token.id,
            token.label,
            role_name(token.role),
            out.display()
        )
    })
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Publisher => "publisher",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

fn list(tokens: &[Token]) -> String {
    let row = |token: &Token| {
        vec![
            token.id.clone(),
            token.label.clone(),
            role_name(token.role).to_owned(),
            token.tenant.to_string(),
            time(token.created_at_ms),
            token.expires_at_ms.map_or_else(|| "never".to_owned(), time),
        ]
    };
    table(
        &["ID", "LABEL", "ROLE", "TENANT", "CREATED", "EXPIRES"],
        &tokens.iter().map(row).collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_do_not_show_secrets() {
        let token = Token {
            id: "01J".into(),
            label: "ci".into(),
            role: Role::Publisher,
            tenant: "default".parse().unwrap(),
            created_at_ms: 0,
            expires_at_ms: None,
            secret: Some("hunter2".into()),
        };
        assert_eq!(
            list(&[token]),
            "ID   LABEL  ROLE       TENANT   CREATED                   EXPIRES\n\
             01J  ci     publisher  default  1970-01-01T00:00:00.000Z  never\n"
        );
    }
}
