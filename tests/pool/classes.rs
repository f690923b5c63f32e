//! Classes of borrowers, each with a share of what is handed over.

use crate::common::*;
use caliburn::{BuildError, Builder, Class, Fairness, GetError, Pool, PooledConnection};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

fn classes(of: &[(&'static str, u32)]) -> impl FnOnce(Builder<Fake>) -> Builder<Fake> {
    move |builder| of.iter().fold(builder, |builder, &(name, weight)| builder.class(name, weight))
}

/// So many of a class stand in line.
fn stand<'a>(class: Class<'a, Fake>, many: usize) -> Vec<Get<'a>> {
    in_line(many, || class.get_timeout_async(PLENTY))
}

/// The one connection goes from hand to hand, until it has been in so many. Which class each was
/// of.
fn pass_on(
    held: impl Into<Option<PooledConnection<Fake>>>,
    lines: &mut [Vec<Get<'_>>],
    times: usize,
) -> Vec<usize> {
    let (mut held, mut served) = (held.into(), Vec::new());
    while served.len() < times {
        drop(held.take());
        let next = lines.iter_mut().enumerate().find_map(|(class, line)| {
            line.iter_mut()
                .position(|get| match poll_once(get) {
                    Poll::Ready(lent) => {
                        held = Some(lent.unwrap());
                        true
                    }
                    Poll::Pending => false,
                })
                .map(|at| (class, line.remove(at)))
        });
        served.push(next.expect("it is handed to one that waits").0);
    }
    served
}

fn count(served: &[usize], class: usize) -> usize {
    served.iter().filter(|&&of| of == class).count()
}

#[test]
fn each_class_has_its_share_of_what_is_handed_over_whoever_came_first() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, classes(&[("ordinary", 1), ("web", 3)]));
    let held = pool.get().unwrap();
    let [ordinary, web] = ["ordinary", "web"].map(|name| pool.class(name).unwrap());
    let mut lines = [stand(ordinary, 40), stand(web, 40)];
    let served = pass_on(held, &mut lines, 40);
    // In each stretch of four, and not only in all.
    for four in served.chunks(4) {
        assert_eq!(count(four, 1), 3, "{served:?}");
    }
    // Back from the last of them, it has gone to the next.
    let infos = pool.classes();
    assert_eq!(infos[1].to_string(), "web, weight 3: 9 waiting, 31 served in line");
    assert_eq!((infos[0].name.as_str(), infos[0].waiting, infos[0].served), ("ordinary", 30, 10));
    drop(lines);
    assert!(pool.classes().iter().all(|class| class.waiting == 0));
    use_each(&pool, 1);
    assert_settled(&pool, fake.books());
}

#[test]
fn one_that_names_no_class_is_an_ordinary_borrower_of_weight_one() {
    let (pool, _) = full_manual(&Fake::new(), 1, classes(&[("batch", 2)]));
    let held = pool.get().unwrap();
    let mut plain: Vec<Get<'_>> = vec![Box::pin(pool.get_async()), Box::pin(pool.get_async())];
    assert!(plain.iter_mut().all(|get| poll_once(get).is_pending()));
    let info = pool.classes();
    assert_eq!((info[0].name.as_str(), info[0].weight, info[0].waiting), ("ordinary", 1, 2));
    let batch = stand(pool.class("batch").unwrap(), 4);
    let served = pass_on(held, &mut [plain, batch], 6);
    assert_eq!((count(&served[..3], 0), count(&served, 0)), (1, 2), "{served:?}");
}

#[test]
fn a_thousand_of_one_class_do_not_keep_one_of_another_waiting() {
    let (pool, _) = full_manual(&Fake::new(), 1, classes(&[("tenant", 1)]));
    let held = pool.get().unwrap();
    let crowd = stand(pool.class("ordinary").unwrap(), 1_000);
    let mut lines = [crowd, Vec::new()];
    // The crowd has been served for a while.
    let served = pass_on(held, &mut lines, 101);
    assert_eq!(count(&served, 0), 101);
    lines[1] = stand(pool.class("tenant").unwrap(), 1);
    // One of the crowd has it by now, and the next one's turn may have come before.
    let served = pass_on(None, &mut lines, 3);
    assert_eq!(count(&served, 1), 1, "{served:?}");
}

#[test]
fn what_a_class_does_not_ask_for_the_others_have() {
    let (pool, _) = full_manual(&Fake::new(), 1, classes(&[("web", 3), ("batch", 1)]));
    let held = pool.get().unwrap();
    let mut lines = [stand(pool.class("batch").unwrap(), 20)];
    assert_eq!(pass_on(held, &mut lines, 20).len(), 20);
    // Idle, it is for whoever comes first.
    drop(lines);
    let held = pool.class("batch").unwrap().get().unwrap();
    // Nothing was saved up: the shares count from now on.
    let mut lines = [stand(pool.class("web").unwrap(), 8), stand(pool.class("batch").unwrap(), 8)];
    let served = pass_on(held, &mut lines, 8);
    assert_eq!(count(&served, 0), 6, "{served:?}");
}

#[test]
fn one_that_leaves_leaves_its_turn_to_the_next_of_its_class() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, classes(&[("web", 1)]));
    let held = pool.get().unwrap();
    let (mut plain, web) = (stand(pool.class("ordinary").unwrap(), 4), pool.class("web").unwrap());
    let mut lines = [plain.split_off(2), stand(web, 2)];
    drop(plain);
    let served = pass_on(held, &mut lines, 4);
    assert_eq!(count(&served[..2], 0), 1, "{served:?}");
    drop(lines);
    use_each(&pool, 1);
    assert_settled(&pool, fake.books());
}

#[test]
fn each_class_has_a_limit_on_its_waiters_of_its_own() {
    let divided = |builder: Builder<Fake>| classes(&[("web", 1)])(builder).max_waiters(2);
    let (pool, _) = full_manual(&Fake::new(), 1, divided);
    let _held = pool.get().unwrap();
    let ordinary = stand(pool.class("ordinary").unwrap(), 2);
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::TooManyWaiters { .. }), "{error}");
    let web = stand(pool.class("web").unwrap(), 2);
    let Poll::Ready(refused) = poll_once(&mut Box::pin(pool.class("web").unwrap().get_async()))
    else {
        panic!("two wait already")
    };
    assert!(matches!(refused.unwrap_err(), GetError::TooManyWaiters { .. }));
    drop(ordinary);
    stand(pool.class("ordinary").unwrap(), 2);
    drop(web);
}

/// Ten to one, and each of the light class leaves long before its turn: the next goes on waiting
/// where it stood.
#[test]
fn what_was_earned_by_waiting_is_not_lost_with_one_that_leaves() {
    let (pool, _) = full_manual(&Fake::new(), 1, classes(&[("ordinary", 10), ("light", 1)]));
    let mut held = Some(pool.get().unwrap());
    let light = pool.class("light").unwrap();
    let mut lines = [stand(pool.class("ordinary").unwrap(), 400), Vec::new()];
    let mut served = Vec::new();
    while served.len() < 330 {
        lines[1] = stand(light, 1);
        served.extend(pass_on(held.take(), &mut lines, 3));
        // What is left of it leaves.
        lines[1].clear();
    }
    // Each time one is served that is not listed, while none of the class is there.
    assert!((26..=30).contains(&count(&served, 1)), "{served:?}");
}

#[test]
fn newcomers_go_before_none_that_waits_where_there_are_classes() {
    let barging = Fairness::BoundedBarging(PLENTY);
    let divided = |builder: Builder<Fake>| classes(&[("web", 1)])(builder).fairness(barging);
    let (pool, _) = full_manual(&Fake::new(), 1, divided);
    let held = pool.get().unwrap();
    let mut web = stand(pool.class("web").unwrap(), 1);
    drop(held);
    assert!(pool.try_get().is_err(), "a newcomer");
    assert!(poll_once(&mut web[0]).is_ready());
}

#[test]
fn threads_have_their_shares_as_tasks_have() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(1).min_size(1).class("web", 1).build().unwrap();
    let held = pool.get().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for name in ["ordinary", "ordinary", "ordinary", "web"] {
            let (pool, order) = (&pool, &order);
            let before = pool.stats().waiting;
            scope.spawn(move || {
                let lent = pool.class(name).unwrap().get_timeout(PLENTY).unwrap();
                order.lock().unwrap().push(name);
                drop(lent);
            });
            eventually("it waits", || pool.stats().waiting == before + 1);
        }
        drop(held);
    });
    let order = order.into_inner().unwrap();
    assert!(order[..2].contains(&"web"), "{order:?}");
    assert_settled(&pool, fake.books());
}

#[test]
fn a_class_that_the_builder_was_not_told_of_is_none() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder);
    assert!(pool.class("web").is_none() && pool.class("").is_none());
    let ordinary = pool.class("ordinary").expect("it is always there");
    drop(ordinary.get().unwrap());
    assert_eq!(pool.classes().len(), 1);
}

#[test]
fn weights_that_make_no_sense_are_all_reported() {
    let builder = Pool::builder(Fake::new()).class("none", 0).class("all", 1_001);
    let many = (0..64).fold(builder, |builder, n| builder.class(n.to_string(), 1));
    let BuildError::Config(error) = many.build().unwrap_err() else { panic!("bad settings") };
    let text = error.to_string();
    for part in [
        "the number of classes (67) is above the most (64)",
        "the weight of class \"none\" must be from 1 to 1000",
        "the weight of class \"all\" must be from 1 to 1000",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_class_that_waits_is_a_whole_slot_behind_its_share(
        weights in proptest::collection::vec(1_u32..=9, 2..5),
        rounds in 1_usize..60,
    ) {
        let names = ["a", "b", "c", "d"];
        // The ordinary class is there as well, and never waits.
        let divided: Vec<_> = names.into_iter().zip(weights.iter().copied()).collect();
        let (pool, _) = full_manual(&Fake::new(), 1, classes(&divided));
        let held = pool.get().unwrap();
        let mut lines: Vec<_> = divided
            .iter()
            .map(|&(name, _)| stand(pool.class(name).unwrap(), rounds))
            .collect();
        let served = pass_on(held, &mut lines, rounds);
        let all: u32 = weights.iter().sum();
        for (class, weight) in weights.iter().enumerate() {
            let share = rounds as f64 * f64::from(*weight) / f64::from(all);
            let had = count(&served, class) as f64;
            prop_assert!(share - had < 1.0, "{class}: {had} of {share} {served:?}");
        }
    }
}

/// Ten seconds of threads and tasks of two classes, on four connections.
#[test]
#[ignore = "soak: ten seconds"]
fn soak_loans_are_three_to_one_where_weights_are() {
    let pool = Pool::builder(Fake::new()).max_size(4).min_size(4).class("web", 3).build().unwrap();
    let (loans, longest) =
        ([(); 2].map(|()| AtomicU64::new(0)), [(); 2].map(|()| AtomicU64::new(0)));
    let end = Instant::now() + Duration::from_secs(10);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let note = |class: usize, begun: Instant| {
        loans[class].fetch_add(1, SeqCst);
        longest[class].fetch_max(begun.elapsed().as_micros() as u64, SeqCst);
    };
    thread::scope(|scope| {
        for (class, name) in ["ordinary", "web"].into_iter().enumerate() {
            for _ in 0..8 {
                let (pool, note) = (&pool, &note);
                scope.spawn(move || {
                    let class_of = pool.class(name).unwrap();
                    while Instant::now() < end {
                        let begun = Instant::now();
                        let lent = class_of.get().unwrap();
                        note(class, begun);
                        thread::sleep(Duration::from_micros(200));
                        drop(lent);
                    }
                });
                let runtime = &runtime;
                scope.spawn(move || {
                    runtime.block_on(async {
                        let class_of = pool.class(name).unwrap();
                        while Instant::now() < end {
                            let begun = Instant::now();
                            let lent = class_of.get_async().await.unwrap();
                            note(class, begun);
                            tokio::time::sleep(Duration::from_micros(200)).await;
                            drop(lent);
                        }
                    });
                });
            }
        }
    });
    let [plain, web] = loans.map(AtomicU64::into_inner);
    let ratio = web as f64 / plain as f64;
    let longest = longest.map(|micros| Duration::from_micros(micros.into_inner()));
    println!("ordinary {plain}, web {web}: {ratio:.3}; longest waits {longest:?}");
    assert!((2.85..=3.15).contains(&ratio), "{ratio}");
}
