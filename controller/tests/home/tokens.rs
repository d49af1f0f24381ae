//! Join tokens.

use jiff::Timestamp;
use placet_controller::home::{Embedded as Home, HomeError, NewToken, TakeTokenError, TokenUsage};
use placet_model::NodeName;
use placet_protocol::TokenRefusal;

use crate::declared::token;

#[track_caller]
fn refused(home: &Home, id: &str, secret: &str, node: &str, because: TokenRefusal) {
    let node: NodeName = node.parse().unwrap();
    match home.take_token(id, secret, &node, Timestamp::UNIX_EPOCH) {
        Err(TakeTokenError::Refused(refusal)) => assert_eq!(refusal, because),
        other => panic!("{other:?}"),
    }
}

fn take(home: &Home, id: &str, node: &str) -> Result<(), TakeTokenError> {
    home.take_token(id, "sesame", &node.parse().unwrap(), Timestamp::UNIX_EPOCH)
}

#[test]
fn a_token_that_was_used_is_known_as_such_for_good() {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    home.create_token(&token("t1", "card-1", false)).unwrap();
    take(&home, "t1", "card-1").unwrap();
    refused(&home, "t1", "sesame", "card-1", TokenRefusal::Used);
    refused(&home, "t1", "other", "card-1", TokenRefusal::Wrong);
    drop(home);
    let home = Home::open(state.path()).unwrap();
    refused(&home, "t1", "sesame", "card-1", TokenRefusal::Used);
}

#[test]
fn a_name_that_is_taken_needs_a_token_that_says_so() {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    home.create_token(&token("t1", "card-1", false)).unwrap();
    home.create_token(&token("t2", "card-1", false)).unwrap();
    take(&home, "t1", "card-1").unwrap();
    assert!(home.members().unwrap().contains(&"card-1".parse().unwrap()));
    refused(&home, "t2", "sesame", "card-1", TokenRefusal::NameTaken);
    let error = home
        .create_token(&token("t3", "card-1", false))
        .unwrap_err();
    assert!(matches!(error, HomeError::NameTaken { .. }));
    home.create_token(&token("t4", "card-1", true)).unwrap();
    take(&home, "t4", "card-1").unwrap();
    let error = home.create_token(&token("t4", "card-9", true)).unwrap_err();
    assert!(
        matches!(error, HomeError::Database { .. }),
        "an id is given once"
    );
}

#[test]
fn another_token_for_every_boot_ends_the_former_one() {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path()).unwrap();
    let every_boot = |id: &str, node: &str| NewToken {
        usage: TokenUsage::EveryBoot,
        expires: Timestamp::MAX,
        ..token(id, node, false)
    };
    home.create_token(&every_boot("t1", "card-1")).unwrap();
    home.create_token(&every_boot("t2", "card-2")).unwrap();
    take(&home, "t1", "card-1").unwrap();
    home.create_token(&every_boot("t3", "card-1")).unwrap();
    let node: NodeName = "card-1".parse().unwrap();
    let now = Timestamp::now();
    let former = home.take_token("t1", "sesame", &node, now);
    assert!(matches!(
        former,
        Err(TakeTokenError::Refused(TokenRefusal::Expired))
    ));
    home.take_token("t3", "sesame", &node, now).unwrap();
    take(&home, "t2", "card-2").unwrap();
}
