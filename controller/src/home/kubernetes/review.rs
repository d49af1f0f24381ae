//! Nodes that are hosts of the cluster itself: their pods show the token of their service account.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use placet_model::NodeName;
use placet_protocol::TokenRefusal;

use super::Kubernetes;
use crate::home::TakeTokenError;

/// For whom the token has to be made: one for another service is worth nothing here.
pub const AUDIENCE: &str = "placet";

/// The service account of the node daemon's pods, in the controller's namespace.
pub const SERVICE_ACCOUNT: &str = "placet-node";

/// Where the API server says on which cluster node the pod of a bound token runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// A token is a few kB at most.
const TOKEN_MOST: usize = 16 * 1024;

impl Kubernetes {
    pub(in crate::home) fn review(
        &self,
        token: &str,
        node: &NodeName,
    ) -> Result<(), TakeTokenError> {
        if token.len() > TOKEN_MOST {
            return Err(TokenRefusal::Wrong.into());
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: token.to_owned(),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let reviewed =
            self.wait(self.request("review a token", || self.0.reviews.create(&params, &review)))?;
        let status = reviewed.status.unwrap_or_default();
        let is_for_us = status.audiences.iter().flatten().any(|it| it == AUDIENCE);
        let user = status.user.unwrap_or_default();
        let name = format!(
            "system:serviceaccount:{}:{SERVICE_ACCOUNT}",
            self.0.namespace
        );
        if status.authenticated != Some(true) || !is_for_us || user.username != Some(name) {
            return Err(TokenRefusal::Wrong.into());
        }
        let extra = user.extra.unwrap_or_default();
        let runs_on = extra.get(NODE_NAME).map(Vec::as_slice);
        if runs_on == Some(&[node.to_string()]) {
            Ok(())
        } else {
            Err(TokenRefusal::OtherNode.into())
        }
    }
}
