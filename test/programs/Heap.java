// SPDX-License-Identifier: Apache-2.0
import java.io.FileWriter;
import java.util.ArrayDeque;
import java.util.HashMap;

/** A running heap: a map that grows and is checked, and garbage that keeps the collector busy. Usage: java Heap.java LOG */
public class Heap {
    public static void main(String[] args) throws Exception {
        HashMap<Integer, String> kept = new HashMap<>();
        ArrayDeque<byte[]> garbage = new ArrayDeque<>();
        for (int tick = 1;; tick++) {
            for (int i = 0; i < 1000; i++)
                kept.put((tick * 1000 + i) % 200_000, "value " + (tick * 1000 + i) % 200_000);
            for (int i = 0; i < 50; i++) {
                garbage.add(new byte[10_000]);
                if (garbage.size() > 500)
                    garbage.remove();
            }
            boolean whole = true;
            for (HashMap.Entry<Integer, String> entry : kept.entrySet())
                whole &= entry.getValue().equals("value " + entry.getKey());
            try (FileWriter log = new FileWriter(args[0], true)) {
                log.write(whole ? "tick " + tick + "\n" : "broken map\n");
            }
            Thread.sleep(40);
        }
    }
}
