//! RACE: passages in many files or in one, and bad ones.

use train::finetuning::tasks::{Level, Race};
use train::finetuning::{Input, Split, Target, Task, task};

use crate::data_folder::data;
use crate::{counts, write};

#[test]
fn race_is_read_by_passages_and_from_one_file() {
    let passage = |id: &str| {
        format!(
            "{{\"article\": \"A boat.\", \"questions\": [\"It is a _ .\", \"Why?\"], \"id\": \"{id}\", \
             \"options\": [[\"boat\", \"dog\", \"cat\", \"cow\"], [\"a\", \"b\", \"c\", \"d\"]], \"answers\": [\"A\", \"C\"]}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "dev/high/12.txt", &passage("high12.txt"));
    write(folder.path(), "dev/high/2.txt", &passage(""));
    write(folder.path(), "dev/middle/all.txt", &[passage("m1"), passage("m2")].concat());
    let read = task("race").unwrap().read(folder.path(), Split::Dev).unwrap();
    let ids: Vec<&str> = read.examples.iter().map(|example| example.id.as_str()).collect();
    assert_eq!(ids, ["m1-0", "m1-1", "m2-0", "m2-1", "2-0", "2-1", "high12.txt-0", "high12.txt-1"]);
    assert_eq!(counts(&read), [(4, Some(1436)), (4, Some(3451))]);
    let Input::Options { passage: first, options } = &read.examples[0].input else { panic!() };
    assert_eq!((&**first, options[1].as_str()), ("A boat.", "It is a dog ."));
    let Input::Options { passage: second, options } = &read.examples[1].input else { panic!() };
    assert!(std::sync::Arc::ptr_eq(first, second), "questions about one passage share it");
    assert_eq!(options[3], "Why? d");
    assert_eq!(read.examples[1].target, Some(Target::Class(2)));
    let high = Race::new(Level::High).read(folder.path(), Split::Dev).unwrap();
    assert_eq!(high.examples.len(), 4);

    let bad = |content: &str| {
        let path = write(folder.path(), "bad.txt", &(passage("x") + "\n" + content));
        Race::new(Level::Both).read(&path, Split::Dev).unwrap_err().to_string()
    };
    for (content, expected) in [
        (
            passage("x").replace("\"C\"", "\"E\""),
            "bad.txt:3: question 2 of x: unknown answer \"E\"; an answer is one letter, A to D",
        ),
        (passage("x").replace(", \"d\"", ""), "bad.txt:3: question 2 of x has 3 options, 4 are expected"),
        (passage("x").replace(", \"d\"", ""), "--options"),
        (passage("x").replace("[\"A\", \"C\"]", "[\"A\"]"), "bad.txt:3: 2 questions with 1 answers"),
        (passage("x")[..40].to_owned(), "bad.txt:3: no passage as RACE's are"),
    ] {
        let error = bad(&content);
        assert!(error.contains(expected), "{error}");
    }
    // Where passages have no names, each is called after its place.
    let nameless = write(folder.path(), "all.txt", &passage("").repeat(2));
    let read = task("race").unwrap().read(&nameless, Split::Dev).unwrap();
    let ids: Vec<&str> = read.examples.iter().map(|example| example.id.as_str()).collect();
    assert_eq!(ids, ["all-0", "all-1", "all.2-0", "all.2-1"]);
    let small = write(folder.path(), "small.txt", &passage("x").replace("\"C\"", "\" c\""));
    let read = task("race").unwrap().read(&small, Split::Dev).unwrap();
    assert_eq!(read.examples[1].target, Some(Target::Class(2)), "a letter is a letter");
    let three = passage("x").replace(", \"cow\"", "").replace(", \"d\"", "");
    let path = write(folder.path(), "three.txt", &three);
    let race = Race::new(Level::Both).with_options(3);
    assert_eq!(race.read(&path, Split::Dev).unwrap().examples.len(), 2);
    // A line that was saved in another encoding, where "Café" ends in one byte.
    let latin1 = [passage("x").as_bytes(), &passage("y").replace("boat.", "Caf*").into_bytes()].concat();
    let latin1: Vec<u8> = latin1.into_iter().map(|byte| if byte == b'*' { 0xE9 } else { byte }).collect();
    let path = folder.path().join("latin1.txt");
    std::fs::write(&path, latin1).unwrap();
    let error = Race::new(Level::Both).read(&path, Split::Dev).unwrap_err().to_string();
    assert!(
        error.contains("latin1.txt:2: byte 19 of the line is not valid UTF-8; save the file as"),
        "{error}"
    );
}

/// Files of RACE's form that are not RACE's have no levels.
#[test]
fn passages_of_no_level_are_read() {
    let passage = |id: &str| {
        format!(
            "{{\"article\": \"A boat.\", \"questions\": [\"Why?\"], \"id\": \"{id}\", \"options\": [[\"a\", \"b\"]], \
             \"answers\": [\"B\"]}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train/2.json", &passage("two"));
    write(folder.path(), "train/1.txt", &passage("one"));
    write(folder.path(), "dev.jsonl", &[passage("x"), passage("y"), passage("z")].concat());
    let race = Race::new(Level::Both).with_options(2);
    let read = race.read(folder.path(), Split::Train).unwrap();
    let ids: Vec<&str> = read.examples.iter().map(|example| example.id.as_str()).collect();
    assert_eq!((ids, counts(&read)), (vec!["one-0", "two-0"], vec![(2, None)]));
    assert!(read.examples.iter().all(|example| example.target == Some(Target::Class(1))));
    assert_eq!(counts(&race.read(folder.path(), Split::Dev).unwrap()), [(3, None)]);
    // Of those that are there, none is of a level.
    let middle = Race::new(Level::Middle).with_options(2);
    for (race, split, missing) in [(&middle, Split::Train, "middle"), (&race, Split::Test, "middle or high")]
    {
        let error = race.read(folder.path(), split).unwrap_err().to_string();
        let expected =
            format!("the {} set is not there (no passages in {missing} of it); name", split.name());
        assert!(error.contains(&expected) && error.ends_with("or name a file itself"), "{error}");
    }
}

#[test]
fn the_real_race_has_its_questions() {
    let Some(folder) = data("race") else { return };
    let race = task("race").unwrap();
    let dev = race.read(&folder, Split::Dev).unwrap();
    assert_eq!(counts(&dev), [(1436, Some(1436))]);
    assert!(dev.files[0].remarks.iter().any(|remark| remark.contains("no high passages")), "{:?}", dev.files);
    let train = race.read(&folder, Split::Train).unwrap();
    assert_eq!(train.files.len(), 2);
}
