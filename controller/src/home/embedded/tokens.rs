//! Join tokens: expiring, bound to one node name, and one-time unless the node stores nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use placet_model::NodeName;
use placet_protocol::{TokenRefusal, same_digest, secret_hash};
use rusqlite::{OptionalExtension, params};

use super::objects::time;
use super::{Batch, Embedded, HomeError};
use crate::home::{NewToken, TakeTokenError, TokenUsage};

struct Row {
    secret_hash: String,
    node: String,
    may_replace: bool,
    every_boot: bool,
    expires: Timestamp,
    used: bool,
}

impl Embedded {
    /// Keeps a token that was just made. One that works more than once ends the former such one of
    /// its node.
    ///
    /// # Errors
    ///
    /// [`HomeError::NameTaken`] where a node of that name has joined and the token does not
    /// replace it.
    pub fn create_token(&self, token: &NewToken) -> Result<(), HomeError> {
        self.transaction(|batch| {
            if !token.usage.may_replace() && batch.has_joined(&token.node)? {
                let node = token.node.clone();
                return Err(HomeError::NameTaken { node });
            }
            if token.usage == TokenUsage::EveryBoot {
                batch.void_tokens(&token.node)?;
            }
            batch.insert_token(token)
        })
    }

    /// Takes a token in exchange for a certificate: of all who show it, one gets an `Ok`, ever,
    /// unless it was made to work more than once.
    /// What is refused is not used up.
    pub fn take_token(
        &self,
        id: &str,
        secret: &str,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<(), TakeTokenError> {
        self.transaction(|batch| match batch.refusal(id, secret, node, now)? {
            Some(refusal) => Ok(Err(refusal)),
            None => batch.use_token(id, node, now).map(Ok),
        })??;
        Ok(())
    }

    /// Every node that has ever joined.
    pub fn members(&self) -> Result<BTreeSet<NodeName>, HomeError> {
        self.read(|batch| batch.members())
    }
}

impl Batch<'_> {
    fn members(&self) -> Result<BTreeSet<NodeName>, HomeError> {
        let list = || {
            let mut statement = self.transaction.prepare("SELECT node FROM members")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            names.collect::<Result<Vec<_>, _>>()
        };
        let names = list().map_err(HomeError::database("list the nodes that joined"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn has_joined(&self, node: &NodeName) -> Result<bool, HomeError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM members WHERE node = ?1)";
        self.transaction
            .query_one(sql, [node.as_str()], |row| row.get(0))
            .map_err(HomeError::database("look for a node"))
    }

    fn insert_token(&self, token: &NewToken) -> Result<(), HomeError> {
        let sql = "INSERT INTO tokens \
                   (id, secret_hash, node, may_replace, every_boot, created, expires) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let NewToken {
            id,
            secret_hash,
            node,
            expires,
            usage,
        } = token;
        self.transaction
            .execute(
                sql,
                params![
                    id,
                    secret_hash.to_string(),
                    node.as_str(),
                    usage.may_replace(),
                    *usage == TokenUsage::EveryBoot,
                    self.now.to_string(),
                    expires.to_string()
                ],
            )
            .map_err(HomeError::database("keep a token"))?;
        Ok(())
    }

    /// Ends the tokens of a node that work more than once.
    fn void_tokens(&self, node: &NodeName) -> Result<(), HomeError> {
        let sql = "UPDATE tokens SET expires = ?2 WHERE node = ?1 AND every_boot";
        self.transaction
            .execute(sql, [node.as_str(), &self.now.to_string()])
            .map_err(HomeError::database("end a token"))?;
        Ok(())
    }

    /// Why the token is not good. Who does not know the secret learns nothing but that.
    fn refusal(
        &self,
        id: &str,
        secret: &str,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<Option<TokenRefusal>, HomeError> {
        let Some(row) = self.token(id)? else {
            return Ok(Some(TokenRefusal::Wrong));
        };
        let right = row
            .secret_hash
            .parse()
            .is_ok_and(|kept| same_digest(&kept, &secret_hash(secret)));
        Ok(if !right {
            Some(TokenRefusal::Wrong)
        } else if row.used && !row.every_boot {
            Some(TokenRefusal::Used)
        } else if row.expires <= now {
            Some(TokenRefusal::Expired)
        } else if row.node != node.as_str() {
            Some(TokenRefusal::OtherNode)
        } else if !row.may_replace && self.has_joined(node)? {
            Some(TokenRefusal::NameTaken)
        } else {
            None
        })
    }

    fn token(&self, id: &str) -> Result<Option<Row>, HomeError> {
        self.transaction
            .query_row("SELECT * FROM tokens WHERE id = ?1", [id], |row| {
                Ok(Row {
                    secret_hash: row.get("secret_hash")?,
                    node: row.get("node")?,
                    may_replace: row.get("may_replace")?,
                    every_boot: row.get("every_boot")?,
                    expires: time(row, "expires")?,
                    used: row.get::<_, Option<String>>("used")?.is_some(),
                })
            })
            .optional()
            .map_err(HomeError::database("look up a token"))
    }

    fn use_token(&self, id: &str, node: &NodeName, now: Timestamp) -> Result<(), HomeError> {
        let join = "INSERT INTO members (node, token, joined) VALUES (?1, ?2, ?3) \
                    ON CONFLICT (node) DO UPDATE SET token = excluded.token, joined = excluded.joined";
        let now = now.to_string();
        let run = || {
            self.transaction
                .execute("UPDATE tokens SET used = ?2 WHERE id = ?1", [id, &now])?;
            self.transaction.execute(join, [node.as_str(), id, &now])
        };
        run().map_err(HomeError::database("use a token"))?;
        Ok(())
    }
}
