//! Join tokens.

use jiff::{SignedDuration, Timestamp};
use placet_controller::home::{Home, HomeError, NewToken, TakeTokenError, TokenUsage};
use placet_model::NodeName;
use placet_protocol::TokenRefusal;

use crate::declared::token;
use crate::place::on_both;

#[track_caller]
fn refused(home: &Home, id: &str, secret: &str, node: &str, because: &[TokenRefusal]) {
    let node: NodeName = node.parse().unwrap();
    match home.take_token(id, secret, &node, Timestamp::UNIX_EPOCH) {
        Err(TakeTokenError::Refused(refusal)) => assert!(because.contains(&refusal), "{refusal}"),
        other => panic!("{other:?}"),
    }
}

fn take(home: &Home, id: &str, node: &str) -> Result<(), TakeTokenError> {
    home.take_token(id, "sesame", &node.parse().unwrap(), Timestamp::UNIX_EPOCH)
}

/// The embedded home remembers which tokens were used; on Kubernetes they are gone.
const USED: [TokenRefusal; 2] = [TokenRefusal::Used, TokenRefusal::Wrong];

#[test]
fn a_token_works_once_for_its_node_and_its_time() {
    on_both(|place| {
        let home = place.open();
        home.create_token(&token("t1", "card-1", false)).unwrap();
        refused(&home, "t0", "sesame", "card-1", &[TokenRefusal::Wrong]);
        refused(&home, "t1", "other", "card-1", &[TokenRefusal::Wrong]);
        refused(&home, "t1", "", "card-1", &[TokenRefusal::Wrong]);
        refused(&home, "t1", "sesame", "card-2", &[TokenRefusal::OtherNode]);
        refused(&home, "../t1", "sesame", "card-1", &[TokenRefusal::Wrong]);
        let late = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let error = home.take_token("t1", "sesame", &"card-1".parse().unwrap(), late);
        let is_late = matches!(error, Err(TakeTokenError::Refused(TokenRefusal::Expired)));
        assert!(is_late, "{error:?}");
        take(&home, "t1", "card-1").unwrap();
        refused(&home, "t1", "sesame", "card-1", &USED);
        drop(home);
        refused(&place.open(), "t1", "sesame", "card-1", &USED);
    });
}

#[test]
fn of_many_who_show_a_token_at_once_one_gets_in() {
    on_both(|place| {
        let home = place.open();
        home.create_token(&token("t1", "card-1", true)).unwrap();
        let taken = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| take(&home, "t1", "card-1")))
                .collect();
            all.into_iter().flat_map(|it| it.join().unwrap()).count()
        });
        assert_eq!(taken, 1);
    });
}

#[test]
fn an_id_is_given_once() {
    on_both(|place| {
        let home = place.open();
        home.create_token(&token("t1", "card-1", true)).unwrap();
        let error = home.create_token(&token("t1", "card-9", true)).unwrap_err();
        let is_of_home = matches!(error, HomeError::Database { .. } | HomeError::Api { .. });
        assert!(is_of_home, "{error}");
    });
}

#[test]
fn no_secret_is_kept() {
    on_both(|place| {
        let home = place.open();
        home.create_token(&token("t1", "card-1", false)).unwrap();
        let bytes = place.bytes();
        assert!(!bytes.is_empty());
        assert!(!bytes.windows(6).any(|window| window == b"sesame"));
    });
}

#[test]
fn a_token_for_every_boot_works_again_until_its_time_is_over() {
    on_both(|place| {
        let home = place.open();
        let every_boot = NewToken {
            usage: TokenUsage::EveryBoot,
            ..token("t1", "card-1", false)
        };
        home.create_token(&every_boot).unwrap();
        take(&home, "t1", "card-1").unwrap();
        take(&home, "t1", "card-1").unwrap();
        refused(&home, "t1", "other", "card-1", &[TokenRefusal::Wrong]);
        refused(&home, "t1", "sesame", "card-2", &[TokenRefusal::OtherNode]);
        let late = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let error = home.take_token("t1", "sesame", &"card-1".parse().unwrap(), late);
        let is_late = matches!(error, Err(TakeTokenError::Refused(TokenRefusal::Expired)));
        assert!(is_late, "{error:?}");
    });
}
